package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	writeRoute    = "/api/v3/secrets/:secretName"
	rawWriteRoute = "/api/v3/secrets/raw/:secretName"
)

// pushToken makes a token that may read and write everything, or what permissions say.
func (w *world) pushToken(permissions ...string) string {
	if len(permissions) == 0 {
		permissions = []string{"read", "write"}
	}
	return w.token(func(s *devserver.TokenSpec) { s.Permissions = permissions })
}

// pushes makes the ServiceTokenPush out, which writes the Secret made to prod:/pushed.
func (w *world) pushes(change ...func(*stv1.ServiceTokenPush)) *stv1.ServiceTokenPush {
	w.t.Helper()
	obj := &stv1.ServiceTokenPush{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "out"}}
	obj.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
	obj.Spec.Source.SecretRef.Name = "made"
	obj.Spec.Destination = stv1.PushDestination{Environment: "prod", Path: "/pushed"}
	obj.Spec.RefreshInterval = metav1.Duration{Duration: 5 * time.Second}
	for _, c := range change {
		c(obj)
	}
	w.Expect(w.client.Create(w.ctx, obj)).To(Succeed())
	return obj
}

// pushed is a world in which a push of X and Y is in sync.
func (w *world) pushed(permissions []string, change ...func(*stv1.ServiceTokenPush)) {
	w.t.Helper()
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken(permissions...))
	w.putSecret("made", map[string]string{"X": "one", "Y": "two"})
	w.pushes(change...)
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
}

func (w *world) getPush(name string) *stv1.ServiceTokenPush {
	w.t.Helper()
	obj := &stv1.ServiceTokenPush{}
	w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, obj)).To(Succeed())
	return obj
}

func (w *world) changePush(name string, change func(*stv1.ServiceTokenPush)) {
	w.t.Helper()
	obj := w.getPush(name)
	before := obj.DeepCopy()
	change(obj)
	w.Expect(w.client.Patch(w.ctx, obj, client.MergeFrom(before))).To(Succeed())
}

// refreshPush asks for a look, and waits for it.
func (w *world) refreshPush(name string) {
	w.t.Helper()
	asked := fmt.Sprint(time.Now().UnixNano())
	w.changePush(name, func(p *stv1.ServiceTokenPush) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, stv1.RefreshAnnotation, asked)
	})
	w.Eventually(func() string { return w.getPush(name).Status.LastHandledRefresh }).Should(Equal(asked))
}

// wakePush has a push looked at, without anything else.
func (w *world) wakePush(name string) {
	w.t.Helper()
	w.changePush(name, func(p *stv1.ServiceTokenPush) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, "woken", fmt.Sprint(time.Now()))
	})
}

func (w *world) pushReason(name string) func() string {
	return func() string {
		if c := meta.FindStatusCondition(w.getPush(name).Status.Conditions, stv1.ConditionReady); c != nil {
			return c.Reason
		}
		return ""
	}
}

func (w *world) pushMessage(name string) string {
	return meta.FindStatusCondition(w.getPush(name).Status.Conditions, stv1.ConditionReady).Message
}

// folder is what a folder at the server holds.
func (w *world) folder(path string) func() map[string]string {
	return func() map[string]string {
		values := map[string]string{}
		for name, s := range w.project.Secrets("prod", path) {
			values[name] = s.Value
		}
		return values
	}
}

func (w *world) setSecret(name string, data map[string]string) {
	w.t.Helper()
	secret, err := w.secret(name)
	w.Expect(err).NotTo(HaveOccurred())
	secret.Data = map[string][]byte{}
	for k, v := range data {
		secret.Data[k] = []byte(v)
	}
	w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
}

// odd are values of which each byte counts.
var odd = map[string]string{
	"EMPTY": "", "CRLF": "a\r\nb\r\n", "SPACES": "  lead and trail  ", "EMOJI": "🔑é", "REFERENCE": "${OTHER} $x", "LONG": strings.Repeat("0123456789abcdef", 4<<10), "JSON": `{"a":"<&>\u2028"}`,
}

func TestAPushWritesByteExactWhereTheOperatorEncrypts(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			w := newWorld(t)
			w.project = w.infisical.AddProject(version)
			w.project.AddFolder("prod", "/pushed")
			w.putToken(w.pushToken())
			w.putSecret("made", odd)
			w.pushes()
			w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
			w.Expect(w.folder("/pushed")()).To(Equal(odd))
			w.Expect(w.infisical.Count(rawWriteRoute, "")).To(BeZero(), "the server sees no value")
			w.Eventually(w.events("out")).Should(HaveKeyWithValue(stv1.ReasonPushed, 1))
		})
	}
}

// TestWhatTheServerTrimsIsNotSentForEver: a value that the server changes is in sync, and status says so.
func TestWhatTheServerTrimsIsNotSentForEver(t *testing.T) {
	w := newWorld(t)
	w.project = w.infisical.AddProject(3)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", odd)
	w.pushes()
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("SPACES", "lead and trail"))
	w.Expect(w.pushMessage("out")).To(HaveSuffix("without the white space around their values, which this server removes: CRLF, SPACES"))
	writes := w.infisical.Count(rawWriteRoute, "")
	w.Expect(writes).To(Equal(len(odd)))
	for range 3 {
		w.refreshPush("out")
	}
	w.Consistently(func() int { return w.infisical.Count(rawWriteRoute, "") }, 6*time.Second).Should(Equal(writes))
}

func TestAPushSendsOnlyWhatDiffers(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(2))
	w.setSecret("made", map[string]string{"X": "one", "Y": "changed", "Z": "new"})
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"X": "one", "Y": "changed", "Z": "new"}))
	w.Eventually(func() []string { return w.getPush("out").Status.Written.Names }).Should(Equal([]string{"X", "Y", "Z"}))
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(4))
	w.Expect(w.getPush("out").Status.Written.Creating).To(BeEmpty())

	// Somebody's change at the server is undone, and another restart of the operator finds nothing to do.
	w.project.Put("prod", "/pushed", "X", "by hand")
	w.Eventually(w.folder("/pushed"), 15*time.Second).Should(HaveKeyWithValue("X", "one"))
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(5))
	w.Eventually(func() int { return len(w.writes.seen()) }).ShouldNot(BeZero())
	w.stop()
	before := w.getPush("out").ResourceVersion
	w.start()
	w.refreshPush("out") // which is one write of status
	w.stop()
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(5))
	w.Expect(w.getPush("out").ResourceVersion).NotTo(Equal(before))
}

func TestAPushIsIdleAfterwards(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	polls := w.infisical.Count("/api/v3/secrets", "")
	w.Eventually(func() int { return w.infisical.Count("/api/v3/secrets", "") }).Should(BeNumerically(">", polls+1), "what follows a first push is over")
	writes, version := len(w.writes.seen()), w.getPush("out").ResourceVersion
	w.Consistently(func() []string { return w.writes.seen()[writes:] }, 12*time.Second).Should(BeEmpty())
	w.Expect(w.getPush("out").ResourceVersion).To(Equal(version))
}

// TestAPushKeepsItsHandsOffWhatItDidNotWrite is the promise that matters most: whoever shares the folder loses nothing.
func TestAPushKeepsItsHandsOffWhatItDidNotWrite(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "X", "somebody's")
	w.project.Put("prod", "/pushed", "OTHER", "somebody's too")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "one", "Y": "two"})
	w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.pushMessage("out")).To(ContainSubstring("not written by this object: X;"))
	foreign := map[string]string{"X": "somebody's", "OTHER": "somebody's too"}
	w.Expect(w.folder("/pushed")()).To(Equal(foreign), "all or nothing")

	// With X out of the way, Y is written and deleted again, and nothing else.
	w.changePush("out", func(p *stv1.ServiceTokenPush) { p.Spec.Source.Exclude = []stv1.NamePattern{{Glob: "X"}} })
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("Y", "two"))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(w.folder("/pushed")).Should(Equal(foreign))
}

func TestAPushTakesOverWhenToldTo(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "X", "somebody's")
	w.project.Put("prod", "/pushed", "Y", "two")
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.ExistingNames = stv1.ExistingNamesTakeOver })
	w.Expect(w.folder("/pushed")()).To(Equal(map[string]string{"X": "one", "Y": "two"}))
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(1), "what is equal is taken over without a write")
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"X", "Y"}))
}

func TestAPushLeavesWhatExistsWhenToldTo(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "X", "somebody's")
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.UpdatePolicy = stv1.UpdatePolicyIfNotExists })
	w.Expect(w.folder("/pushed")()).To(Equal(map[string]string{"X": "somebody's", "Y": "two"}))
	w.Expect(w.pushMessage("out")).To(ContainSubstring("left as they are by updatePolicy IfNotExists: X"))
	w.setSecret("made", map[string]string{"X": "one", "Y": "changed", "Z": "new"})
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"X": "somebody's", "Y": "two", "Z": "new"}))
}

func TestAKeyThatGoesTakesItsNameAlongWhenToldTo(t *testing.T) {
	for policy, want := range map[stv1.DeletionPolicy]map[string]string{
		stv1.DeletionPolicyDelete: {"Y": "two"}, stv1.DeletionPolicyRetain: {"X": "one", "Y": "two"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t)
			w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = policy })
			w.setSecret("made", map[string]string{"Y": "two"})
			w.refreshPush("out")
			w.Eventually(w.folder("/pushed")).Should(Equal(want))

			// Nothing is deleted because the Secret is empty, or gone.
			w.setSecret("made", nil)
			w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSourceEmpty))
			secret, err := w.secret("made")
			w.Expect(err).NotTo(HaveOccurred())
			w.Expect(w.client.Delete(w.ctx, secret)).To(Succeed())
			w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSecretNotFound))
			w.Expect(w.folder("/pushed")()).To(Equal(want))

			// It goes on when the Secret is back, and the object itself goes as the policy says.
			w.putSecret("made", map[string]string{"Y": "again"})
			w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("Y", "again"))
			w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
			w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
			w.Eventually(func() bool {
				return apierrors.IsNotFound(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "out"}, &stv1.ServiceTokenPush{}))
			}).Should(BeTrue())
			if policy == stv1.DeletionPolicyDelete {
				w.Expect(w.folder("/pushed")()).To(BeEmpty())
			} else {
				w.Expect(w.folder("/pushed")()).To(HaveLen(2))
			}
		})
	}
}

// TestAPushGoesWhenItsNamesCannot: no object and no namespace hangs for ever on a token that is gone.
func TestAPushGoesWhenItsNamesCannot(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "infisical-token"}}
	w.Expect(w.client.Delete(w.ctx, token)).To(Succeed())
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(func() bool {
		return apierrors.IsNotFound(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "out"}, &stv1.ServiceTokenPush{}))
	}).Should(BeTrue())
	w.Expect(w.folder("/pushed")()).To(HaveLen(2))
	w.Eventually(w.events("out")).Should(HaveKey(stv1.ReasonNamesLeft))
}

// TestADeletionWaitsForAServerThatIsDown: what heals by itself is waited for.
func TestADeletionWaitsForAServerThatIsDown(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/", Status: 500})
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonBackendUnavailable))
	w.Expect(w.pushMessage("out")).To(HavePrefix("names are not deleted yet"))
	w.Expect(w.getPush("out").Finalizers).To(ConsistOf(stv1.PushFinalizer))
	w.infisical.ClearFaults()
	w.Eventually(w.folder("/pushed")).Should(BeEmpty())
}

func TestAPushThatIsTurnedElsewhereLeavesWhatItWrote(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.project.AddFolder("prod", "/elsewhere")
	w.changePush("out", func(p *stv1.ServiceTokenPush) { p.Spec.Destination.Path = "/elsewhere/" })
	both := map[string]string{"X": "one", "Y": "two"}
	w.Eventually(w.folder("/elsewhere")).Should(Equal(both))
	w.Expect(w.folder("/pushed")()).To(Equal(both))
	w.Eventually(w.events("out")).Should(HaveKey(stv1.ReasonNamesLeft))
	w.Eventually(func() string { return w.getPush("out").Status.Written.Path }).Should(Equal("/elsewhere"))
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(w.folder("/elsewhere")).Should(BeEmpty())
	w.Expect(w.folder("/pushed")()).To(Equal(both))
}

// TestATokenThatMayOnlyWritePushes: the least that a push can do with is the permission to write.
func TestATokenThatMayOnlyWritePushes(t *testing.T) {
	w := newWorld(t)
	w.pushed([]string{"write"}, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.Expect(w.folder("/pushed")()).To(Equal(map[string]string{"X": "one", "Y": "two"}))
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(2))
	w.setSecret("made", map[string]string{"X": "one", "Z": "new"})
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"X": "one", "Z": "new"}))
	w.Eventually(func() []string { return w.getPush("out").Status.Written.Names }).Should(Equal([]string{"X", "Z"}))
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(4), "X is not sent again")

	// A restart sends nothing, as the Secret is what it was.
	w.stop()
	described := w.infisical.Count("/api/v2/service-token", "")
	w.start()
	w.Eventually(func() int { return w.infisical.Count("/api/v2/service-token", "") }).Should(BeNumerically(">", described))
	w.Consistently(func() int { return w.infisical.Count(writeRoute, "") }, time.Second).Should(Equal(4))

	// A name that somebody else has made is not overwritten by somebody who cannot see it.
	w.project.Put("prod", "/pushed", "MINE", "somebody's")
	w.setSecret("made", map[string]string{"X": "one", "Z": "new", "MINE": "m"})
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("MINE", "somebody's"))
	w.changePush("out", func(p *stv1.ServiceTokenPush) { p.Spec.UpdatePolicy = stv1.UpdatePolicyIfNotExists })
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("MINE", "somebody's"))
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"X", "Z"}))
	w.changePush("out", func(p *stv1.ServiceTokenPush) {
		p.Spec.UpdatePolicy, p.Spec.ExistingNames = stv1.UpdatePolicyOverwrite, stv1.ExistingNamesTakeOver
	})
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("MINE", "m"))
}

func TestAnIdentityPushes(t *testing.T) {
	w := newWorld(t)
	w.project = w.infisical.AddProject(3)
	w.project.AddFolder("prod", "/pushed")
	identity := w.project.AddIdentity(devserver.IdentitySpec{TTL: 2 * time.Second})
	w.putSecret("infisical-identity", map[string]string{"clientId": identity.ClientID, "clientSecret": identity.ClientSecret})
	w.putSecret("made", map[string]string{"X": "one"})
	w.pushes(func(p *stv1.ServiceTokenPush) {
		p.Spec.Auth = stv1.Auth{UniversalAuth: &stv1.UniversalAuth{Project: w.project.ID(), SecretRef: stv1.ClientSecretRef{Name: "infisical-identity"}}}
	})
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"X": "one"}))
	w.Eventually(func() int { return w.infisical.Count("/api/v1/auth/universal-auth/login", "") }).Should(BeNumerically(">", 1), "the first access token is past its life")
	w.setSecret("made", map[string]string{"X": "two"})
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"X": "two"}))
	w.Expect(w.getPush("out").Status.Usage).To(BeNil())
}

// TestAPushAndAReaderShareAFolder: what is pushed is in the Secrets of those who read it at once, not at their next poll.
func TestAPushAndAReaderShareAFolder(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	w.object(func(o *stv1.ServiceTokenSecret) {
		o.Name = "out" // names of different kinds are not in each other's way
		o.Spec.Sources[0].Path = "/pushed"
		o.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour}
	})
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"X": "one", "Y": "two"}))
	w.setSecret("made", map[string]string{"X": "at once", "Y": "two"})
	w.Eventually(w.data("shop-env"), 10*time.Second).Should(HaveKeyWithValue("X", "at once"))
	w.Expect(w.client.Delete(w.ctx, w.get("out"))).To(Succeed())
	w.setSecret("made", map[string]string{"X": "alone", "Y": "two"})
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("X", "alone"))
}

// TestAPushSurvivesACrash: names that were about to be created are known again, and a foreign one among them is not taken.
func TestAPushSurvivesACrash(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	names := map[string]string{}
	for i := range 30 {
		names[fmt.Sprintf("K_%02d", i)] = fmt.Sprint(i)
	}
	w.putSecret("made", names)
	w.infisical.SetLatency(30 * time.Millisecond)
	w.pushes()
	w.Eventually(func() int { return len(w.folder("/pushed")()) }).Should(BeNumerically(">", 3))
	w.stop()
	w.Expect(len(w.folder("/pushed")())).To(BeNumerically("<", 30), "it was stopped in the middle")
	// As if it had not even had the time to note what was done.
	p := w.getPush("out")
	p.Status.Written.Names, p.Status.Written.Creating = nil, slices.Sorted(func(yield func(string) bool) {
		for name := range names {
			if !yield(name) {
				return
			}
		}
	})
	w.Expect(w.client.Status().Update(w.ctx, p)).To(Succeed())
	w.start()
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.folder("/pushed")()).To(Equal(names))
	w.Expect(w.getPush("out").Status.Written.Names).To(HaveLen(30))
	w.Expect(w.getPush("out").Status.Written.Creating).To(BeEmpty())
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(30), "each was sent once")
}

func TestThePushOfAMigratedProjectFindsTheOtherRoute(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	w.project.Migrate()
	w.setSecret("made", map[string]string{"X": "after", "Y": "two"})
	w.Eventually(w.folder("/pushed"), 40*time.Second).Should(HaveKeyWithValue("X", "after"))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
}

// TestReasonsOfPushes reaches the reasons that a push has of its own, and those that mean something else for it.
func TestReasonsOfPushes(t *testing.T) {
	ready := func(w *world) {
		w.project.AddFolder("prod", "/pushed")
		w.putToken(w.pushToken())
		w.putSecret("made", map[string]string{"X": "one", "Y": "two"})
	}
	for name, tt := range map[string]struct {
		reason string
		make   func(*world)
		says   string
	}{
		"suspended": {stv1.ReasonSuspended, func(w *world) { ready(w); w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Suspend = true }) }, "spec.suspend"},
		"no Secret": {stv1.ReasonSecretNotFound, func(w *world) {
			w.project.AddFolder("prod", "/pushed")
			w.putToken(w.pushToken())
			w.pushes()
		}, "there is no Secret made"},
		"no token":       {stv1.ReasonTokenSecretNotFound, func(w *world) { w.pushes() }, "there is no Secret infisical-token"},
		"no write right": {stv1.ReasonPermissionDenied, func(w *world) { ready(w); w.putToken(w.pushToken("read")); w.pushes() }, "write permission"},
		"no key of the name": {stv1.ReasonSecretNotFound, func(w *world) {
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Source.Data = []stv1.PushEntry{{Key: "NOPE"}} })
		}, "NOPE"},
		"nothing taken": {stv1.ReasonSourceEmpty, func(w *world) {
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Source.Include = []stv1.NamePattern{{Glob: "NOPE_*"}} })
		}, "nothing of Secret made is taken"},
		"no folder": {stv1.ReasonPathNotFound, func(w *world) {
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Destination.Path = "/nope" })
		}, `no folder "/nope"`},
		"no folder, and no permission to look": {stv1.ReasonPathNotFound, func(w *world) {
			ready(w)
			w.putToken(w.pushToken("write"))
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Destination.Path = "/nope" })
		}, `no folder "/nope"`},
		"no environment": {stv1.ReasonEnvironmentNotFound, func(w *world) {
			ready(w)
			w.putToken(w.token(func(s *devserver.TokenSpec) {
				s.Permissions, s.Scopes = []string{"read", "write"}, servicetoken.Scopes{{Environment: "qa", Path: "/**"}}
			}))
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Destination.Environment = "qa" })
		}, `no environment "qa"`},
		"out of scope": {stv1.ReasonScopeDenied, func(w *world) {
			ready(w)
			w.putToken(w.token(func(s *devserver.TokenSpec) {
				s.Permissions, s.Scopes = []string{"read", "write"}, servicetoken.Scopes{{Environment: "dev", Path: "/**"}}
			}))
			w.pushes()
		}, "prod:/pushed is outside the token's scopes"},
		"a name that the server does not take": {stv1.ReasonKeyInvalid, func(w *world) {
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Source.Rename = []stv1.RenameStep{{Prefix: "a/"}} })
		}, `key "X" would be named "a/X"`},
		"two keys of one name": {stv1.ReasonKeyConflict, func(w *world) {
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) {
				p.Spec.Source.Rename = []stv1.RenameStep{{Regexp: &stv1.Replacement{Source: ".*", Target: "ALL"}}}
			})
		}, `keys "X" and "Y" would both be named "ALL"`},
		"a value that is no text": {stv1.ReasonValueInvalid, func(w *world) {
			ready(w)
			w.setSecret("made", map[string]string{"BINARY": "\xff\xfe"})
			w.pushes()
		}, `key "BINARY" is not UTF-8`},
		"a glob that is none": {stv1.ReasonSpecInvalid, func(w *world) {
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Source.Include = []stv1.NamePattern{{Glob: "["}} })
		}, "spec.source.include[0]"},
		"two secrets of one name": {stv1.ReasonNameConflict, func(w *world) {
			ready(w)
			w.project.Put("prod", "/pushed", "X", "a")
			w.project.PutDuplicate("prod", "/pushed", "X", "b")
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.ExistingNames = stv1.ExistingNamesTakeOver })
		}, "several secrets of the same name"},
		"Client on version 3": {stv1.ReasonDecryptionFailed, func(w *world) {
			w.project = w.infisical.AddProject(3)
			ready(w)
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Encryption = stv1.DecryptionClient })
		}, "version 3"},
		"a server that fails": {stv1.ReasonBackendUnavailable, func(w *world) {
			ready(w)
			w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/", Status: 500})
			w.pushes()
		}, "status 500"},
		"a rate limit": {stv1.ReasonRateLimited, func(w *world) {
			ready(w)
			w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/", Status: 429})
			w.pushes()
		}, "rate limit"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.make(w)
			w.Eventually(w.pushReason("out")).Should(Equal(tt.reason))
			w.Expect(w.pushMessage("out")).To(ContainSubstring(tt.says))
			w.Eventually(w.events("out")).Should(HaveKey(tt.reason))
		})
	}
}

// TestAPushThatWasInSyncStaysReadyThroughATrouble that passes within a minute.
func TestAPushThatWasInSyncStaysReadyThroughATrouble(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/", Status: 500})
	w.setSecret("made", map[string]string{"X": "later", "Y": "two"})
	w.Consistently(w.pushReason("out"), 3*time.Second).Should(Equal(stv1.ReasonSynced))
	w.infisical.ClearFaults()
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("X", "later"))
}

// TestTwoPushesOfOneNameDoNotRace: what each takes for somebody's change is undone ever more rarely, and both say so.
func TestTwoPushesOfOneNameDoNotRace(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	w.putSecret("other", map[string]string{"X": "theirs"})
	w.pushes(func(p *stv1.ServiceTokenPush) {
		p.Name, p.Spec.Source.SecretRef.Name, p.Spec.ExistingNames = "other", "other", stv1.ExistingNamesTakeOver
	})
	w.Eventually(w.pushReason("out"), time.Minute).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.pushMessage("out")).To(HavePrefix("somebody changes what was pushed again and again"))
	w.Expect(w.infisical.Count(writeRoute, "")).To(BeNumerically("<", 20))
	version := w.getPush("out").ResourceVersion
	w.Consistently(func() string { return w.getPush("out").ResourceVersion }, 10*time.Second).Should(Equal(version), "the fight is told once")
	w.setSecret("made", map[string]string{"X": "new", "Y": "two"})
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("X", "new"), "a change of one's own does not wait")
	w.Expect(w.client.Delete(w.ctx, w.getPush("other"))).To(Succeed())
	w.setSecret("made", map[string]string{"X": "newer", "Y": "two"})
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("X", "newer"))
	w.Eventually(w.pushReason("out"), 2*time.Minute).Should(Equal(stv1.ReasonSynced))
}

// TestSomebodyWhoCannotLookSendsAllAgainWhenAsked: that is all there is against a change at the server.
func TestSomebodyWhoCannotLookSendsAllAgainWhenAsked(t *testing.T) {
	w := newWorld(t)
	w.pushed([]string{"write"})
	w.project.Put("prod", "/pushed", "X", "by hand")
	w.refreshPush("out")
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"X": "one", "Y": "two"}))
}

func TestAPushCountsTheUsesOfItsToken(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.Rotation.Threshold = 20 })
	w.setSecret("made", odd)
	w.Eventually(func() bool {
		return meta.IsStatusConditionTrue(w.getPush("out").Status.Conditions, stv1.ConditionRotationDue)
	}, 60*time.Second).Should(BeTrue())
	w.Eventually(w.events("out")).Should(HaveKey(stv1.ReasonRotationThresholdReached))
}
