package controllers

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// What may go wrong in the middle of a push, and what nobody may lose by it.

// gone says whether the push out is.
func (w *world) gone() bool {
	return apierrors.IsNotFound(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "out"}, &stv1.ServiceTokenPush{}))
}

// numbered are so many names with values.
func numbered(n int) map[string]string {
	names := map[string]string{}
	for i := range n {
		names[fmt.Sprintf("K_%03d", i)] = fmt.Sprint(i)
	}
	return names
}

// front is a server before the real one, which may do otherwise.
func (w *world) front(answer func(http.ResponseWriter, *http.Request) (answered bool)) func(*stv1.ServiceTokenPush) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !answer(rw, r) {
			w.infisical.ServeHTTP(rw, r)
		}
	}))
	w.t.Cleanup(server.Close)
	return func(p *stv1.ServiceTokenPush) { p.Spec.HostURL = server.URL }
}

// otherServer is a second server, with a folder /pushed.
type otherServer struct {
	*devserver.Project
	url string
}

func (w *world) elsewhere() otherServer {
	w.t.Helper()
	infisical := devserver.New()
	server := httptest.NewServer(infisical)
	w.t.Cleanup(server.Close)
	project := infisical.AddProject(1)
	project.AddFolder("prod", "/pushed")
	w.putSecret("other-token", map[string]string{"token": project.AddToken(devserver.TokenSpec{
		Name: "other", Permissions: []string{"read", "write"}, Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/**"}},
	})})
	return otherServer{project, server.URL}
}

// receives turns a push there.
func (s otherServer) receives(p *stv1.ServiceTokenPush) {
	p.Spec.HostURL, p.Spec.Auth.ServiceToken.SecretRef.Name = s.url, "other-token"
}

// asksForApproval answers creates as a server does whose project wants them approved, until they are let through.
func asksForApproval(approves *atomic.Bool) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		waits := r.Method == http.MethodPost && !approves.Load()
		if waits {
			_, _ = rw.Write([]byte(`{"approval":{"id":"1"}}`))
		}
		return waits
	}
}

// TestWhoCannotLookOverwritesNothingElsewhere: what was sent to one folder gives no right in another.
func TestWhoCannotLookOverwritesNothingElsewhere(t *testing.T) {
	w := newWorld(t)
	w.pushed([]string{"write"})
	w.project.Put("prod", "/elsewhere", "X", "somebody's")
	w.changePush("out", func(p *stv1.ServiceTokenPush) { p.Spec.Destination.Path = "/elsewhere" })
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.folder("/elsewhere")()).To(HaveKeyWithValue("X", "somebody's"))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("X", "one"))
}

// TestAnObjectThatIsMadeAnewInheritsNothing: another object of the name has not written what the first one has.
func TestAnObjectThatIsMadeAnewInheritsNothing(t *testing.T) {
	w := newWorld(t)
	w.pushed([]string{"write"})
	w.project.Put("prod", "/pushed", "X", "changed since")
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.pushes()
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("X", "changed since"))
}

// TestALargePushNeitherHoldsUpOthersNorIsDeaf has more pushes of many names to a slow server than there are workers.
func TestALargePushNeitherHoldsUpOthersNorIsDeaf(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	elsewhere := w.elsewhere()
	w.putSecret("made", map[string]string{"X": "one"})
	w.pushes(elsewhere.receives)
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))

	w.putSecret("big", numbered(200))
	w.infisical.SetLatency(50 * time.Millisecond)
	for i := range 5 {
		w.pushes(func(p *stv1.ServiceTokenPush) {
			p.Name, p.Spec.Source.SecretRef.Name = fmt.Sprintf("big-%d", i), "big"
			p.Spec.Source.Rename = []stv1.RenameStep{{Prefix: fmt.Sprintf("P%d_", i)}}
		})
	}
	w.Eventually(func() int { return len(w.folder("/pushed")()) }).Should(BeNumerically(">", 20))
	w.setSecret("made", map[string]string{"X": "two"})
	w.changePush("big-0", func(p *stv1.ServiceTokenPush) { p.Spec.Suspend = true })
	w.Eventually(func() string { return elsewhere.Secrets("prod", "/pushed")["X"].Value }, 15*time.Second).Should(Equal("two"))
	w.Eventually(w.pushReason("big-0"), 15*time.Second).Should(Equal(stv1.ReasonSuspended))
	suspended := 0
	for name := range w.folder("/pushed")() {
		if strings.HasPrefix(name, "P0_") {
			suspended++
		}
	}
	w.Expect(suspended).To(BeNumerically("<", 200))
	for i := range 4 {
		w.Eventually(w.pushReason(fmt.Sprintf("big-%d", i+1)), 2*time.Minute).Should(Equal(stv1.ReasonSynced))
	}
	w.Expect(w.folder("/pushed")()).To(HaveLen(800 + suspended))
}

// TestARateLimitHoldsBackAPushAndNoOther: workers do not wait for a server that wants to be left alone.
func TestARateLimitHoldsBackAPushAndNoOther(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.infisical.SetRateLimit(600, 600) // which is 200 for writes
	w.putToken(w.pushToken())
	w.putSecret("made", numbered(230))
	w.pushes()
	w.Eventually(w.pushReason("out"), time.Minute).Should(Equal(stv1.ReasonRateLimited))
	w.Expect(w.pushMessage("out")).To(ContainSubstring("of 230 names"))
	w.Expect(len(w.getPush("out").Status.Written.Names)).To(BeNumerically(">=", 150), "what is done is noted")
	w.Eventually(w.pushReason("out"), 2*time.Minute).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.folder("/pushed")()).To(Equal(numbered(230)))
	w.Expect(w.infisical.Count(writeRoute, "")).To(BeNumerically("<=", 232), "the server refuses at most what it takes to learn its limit")
}

// TestACreateThatArrivesLateIsKnown: a request that was given up may be carried out after the folder was read again.
func TestACreateThatArrivesLateIsKnown(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "one"})
	var lost atomic.Bool
	lost.Store(true)
	w.pushes(w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && lost.Load() {
			w.infisical.ServeHTTP(httptest.NewRecorder(), r) // it is done, and the proxy says 504
			rw.WriteHeader(http.StatusGatewayTimeout)
			return true
		}
		return false
	}))
	w.Eventually(w.folder("/pushed")).Should(HaveKey("X"))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonBackendUnavailable))
	lost.Store(false)
	w.setSecret("made", map[string]string{"X": "rotated before that is known"})
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("X", "rotated before that is known"))
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"X"}))
}

// TestTheServersVerdictAboutOneNameIsNoneAboutOthers: the others are pushed, and the message says which it is.
func TestTheServersVerdictAboutOneNameIsNoneAboutOthers(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"A": "1", "B": "2", "C": "3"})
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/A", Status: http.StatusBadRequest})
	w.pushes()
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"B": "2", "C": "3"}))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonBackendUnavailable))
	w.Expect(w.pushMessage("out")).To(HavePrefix("A: "))
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"B", "C"}))
	w.infisical.ClearFaults()
	w.refreshPush("out")
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("A", "1"))
}

// TestSomebodyElsesSecretThatDoesNotOpenIsNoMatter for what is pushed beside it.
func TestSomebodyElsesSecretThatDoesNotOpenIsNoMatter(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "FOREIGN", "x")
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.infisical.SetFault(devserver.Fault{WrongTag: true, SecretName: "FOREIGN"})
	w.project.Put("prod", "/pushed", "FOREIGN", "y")
	w.setSecret("made", map[string]string{"X": "rotated", "Y": "two"})
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("X", "rotated"))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"FOREIGN": "y"}))
	w.Eventually(w.gone).Should(BeTrue())
}

// TestWhatAnotherProcessHasWrittenInStatusCounts: the names of a new leader are not lost to the last report of the old one.
func TestWhatAnotherProcessHasWrittenInStatusCounts(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil)
	w.stop()
	stale := &item{ServiceTokenPush: *w.getPush("out")}
	stale.look()
	fresh := w.getPush("out")
	fresh.Status.Written.Names = append(fresh.Status.Written.Names, "Z")
	w.Expect(w.client.Status().Update(w.ctx, fresh)).To(Succeed())
	stale.Status.Written.Names = []string{"X"}
	old := &pusher{client: w.client, live: w.client, selector: labels.Everything()}
	w.Expect(old.save(w.ctx, stale)).To(MatchError(errOutrun))
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"X", "Y", "Z"}))

	// A change of something else is no reason to lose what is to be told.
	stale = &item{ServiceTokenPush: *w.getPush("out")}
	stale.look()
	w.changePush("out", func(p *stv1.ServiceTokenPush) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, "somebody", "else") })
	stale.Status.Written.Names = []string{"X"}
	w.Expect(old.save(w.ctx, stale)).To(Succeed())
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"X"}))
}

// TestALookRightAfterAWriteDoesNotTrustWhatWasKnownBefore: a name that was pushed a moment ago is not taken for absent, nor one that was
// deleted for somebody's.
func TestALookRightAfterAWriteDoesNotTrustWhatWasKnownBefore(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "OTHER", "x")
	w.pushed(nil, func(p *stv1.ServiceTokenPush) {
		p.Spec.DeletionPolicy, p.Spec.RefreshInterval = stv1.DeletionPolicyDelete, metav1.Duration{Duration: time.Hour}
	})
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets", Latency: 2 * time.Second})
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/", Latency: time.Millisecond}) // writes are not slow
	for _, z := range []string{"three", "four"} {
		w.setSecret("made", map[string]string{"X": "one", "Y": "two", "Z": z})
		w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("Z", z))
		w.Eventually(func() []string { return w.getPush("out").Status.Written.Names }).Should(ContainElement("Z"))
		w.setSecret("made", map[string]string{"X": "one", "Y": "two"})
		w.Eventually(w.folder("/pushed")).ShouldNot(HaveKey("Z"))
		w.Eventually(func() []string { return w.getPush("out").Status.Written.Names }).ShouldNot(ContainElement("Z"))
	}
	w.Expect(w.events("out")()).NotTo(HaveKey(stv1.ReasonNameConflict))
}

// TestWhatWaitsForAnApprovalIsAskedForOnce, and is the push's own when somebody has approved it.
func TestWhatWaitsForAnApprovalIsAskedForOnce(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "one", "Y": "two"})
	var asked atomic.Int32
	w.pushes(w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			asked.Add(1)
			_, _ = rw.Write([]byte(`{"approval":{"id":"1"}}`))
		}
		return r.Method == http.MethodPost
	}))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonPermissionDenied))
	for range 2 {
		w.project.Put("prod", "/pushed", "OTHER", fmt.Sprint(time.Now())) // which has it looked at again, after the next poll
		w.Consistently(w.pushReason("out"), 6*time.Second).Should(Equal(stv1.ReasonPermissionDenied))
		w.Expect(w.getPush("out").Status.Written.Creating).To(Equal([]string{"X", "Y"}), "they may arrive")
	}
	w.Expect(asked.Load()).To(Equal(int32(2)))
	w.project.Put("prod", "/pushed", "X", "one")
	w.project.Put("prod", "/pushed", "Y", "two")
	w.Eventually(w.pushReason("out"), 20*time.Second).Should(Equal(stv1.ReasonSynced))
	w.Expect(w.getPush("out").Status.Written.Names).To(Equal([]string{"X", "Y"}))
}

// TestWhatWaitsForAnApprovalIsNotForgottenByAFailure: of the names that a failure keeps from being tried again, one is approved.
func TestWhatWaitsForAnApprovalIsNotForgottenByAFailure(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"A": "1", "B": "1"})
	var broken atomic.Bool
	w.pushes(w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method != http.MethodPost:
			return false
		case broken.Load():
			rw.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = rw.Write([]byte(`{"approval":{"id":"1"}}`))
		}
		return true
	}))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonPermissionDenied))
	broken.Store(true)
	w.setSecret("made", map[string]string{"A": "2", "B": "2"})
	w.Eventually(w.pushReason("out"), time.Minute).Should(Equal(stv1.ReasonBackendUnavailable))
	w.Expect(w.getPush("out").Status.Written.Creating).To(Equal([]string{"A", "B"}))
	w.project.Put("prod", "/pushed", "B", "1")
	broken.Store(false)
	w.Eventually(w.folder("/pushed"), time.Minute).Should(HaveKeyWithValue("B", "2"), "it is its own")
}

// TestWhoCannotLookTakesNobodysNameForOneThatWaits: an approval may come much later, or never.
func TestWhoCannotLookTakesNobodysNameForOneThatWaits(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken("write"))
	w.putSecret("made", map[string]string{"X": "one"})
	var approves atomic.Bool
	w.pushes(w.front(asksForApproval(&approves)))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonPermissionDenied))
	w.wakePush("out")
	w.Consistently(w.pushReason("out"), time.Second).Should(Equal(stv1.ReasonPermissionDenied))
	w.project.Put("prod", "/pushed", "X", "somebody else's")
	approves.Store(true)
	w.setSecret("made", map[string]string{"X": "two"})
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.folder("/pushed")()).To(HaveKeyWithValue("X", "somebody else's"))
}

// TestANameThatWaitsAndIsNotWantedIsTold, as nobody deletes it when it comes.
func TestANameThatWaitsAndIsNotWantedIsTold(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"A": "1", "B": "1"})
	w.pushes(w.front(asksForApproval(&atomic.Bool{})))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonPermissionDenied))
	w.setSecret("made", map[string]string{"A": "1"})
	w.Eventually(w.events("out")).Should(HaveKey(stv1.ReasonNamesLeft))
}

// TestManyPushesToASlowServerComeToAnEnd: while one is on its way through the queue, the read that it waited for does not grow too old.
func TestManyPushesToASlowServerComeToAnEnd(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "one"})
	w.infisical.SetLatency(1500 * time.Millisecond)
	const pushes = 90
	for i := range pushes {
		w.pushes(func(p *stv1.ServiceTokenPush) {
			p.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour}
			p.Name, p.Spec.Source.Rename = fmt.Sprintf("out-%d", i), []stv1.RenameStep{{Prefix: fmt.Sprintf("P%d_", i)}}
		})
	}
	w.Eventually(w.folder("/pushed"), 3*time.Minute, time.Second).Should(HaveLen(pushes))
}

// TestNamesThatWereThereBeforeAreTold, as the next change will be a conflict.
func TestNamesThatWereThereBeforeAreTold(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "X", "one")
	w.pushed(nil)
	w.Expect(w.pushMessage("out")).To(HaveSuffix("a change will be a NameConflict (existingNames TakeOver makes them its own): X"))
}

// TestADeletedPushTellsOfNamesThatItCannotReach: its environment has another name now.
func TestADeletedPushTellsOfNamesThatItCannotReach(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.project.RenameEnvironment("prod", "production")
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(w.gone).Should(BeTrue())
	w.Expect(w.project.Secrets("production", "/pushed")).To(HaveLen(2))
	w.Eventually(w.events("out")).Should(HaveKey(stv1.ReasonNamesLeft))
}

// TestAFolderThatGoesWhileAPushIsDeletedIsTold, with what was deleted before and what was not.
func TestAFolderThatGoesWhileAPushIsDeletedIsTold(t *testing.T) {
	w := newWorld(t)
	w.pushed(nil, func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete }, w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		w.infisical.ServeHTTP(rw, r)
		w.project.DeleteFolder("prod", "/pushed")
		return true
	}))
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(w.gone).Should(BeTrue())
	w.Eventually(w.events("out")).Should(And(HaveKeyWithValue(stv1.ReasonPushed, 2), HaveKeyWithValue(stv1.ReasonNamesLeft, 1)))
}

// TestFailingWritesLeaveReadersAlone: a server whose writes fail is tried ever more rarely.
func TestFailingWritesLeaveReadersAlone(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "one"})
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/", Status: http.StatusInternalServerError})
	w.pushes()
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonBackendUnavailable))
	tried := w.infisical.Count(writeRoute, "")
	w.Consistently(func() int { return w.infisical.Count(writeRoute, "") }, 25*time.Second).Should(BeNumerically("<=", tried+1), "after 10 s, and after 20 s more")
}

// TestAPushHasItsTurnAtAServerThatPacesReads: the read before a write keeps its place among the polls, status says that it waits, and no
// worker waits with it.
func TestAPushHasItsTurnAtAServerThatPacesReads(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	elsewhere := w.elsewhere()
	w.putSecret("made", map[string]string{"X": "one"})
	w.infisical.SetRateLimit(1, 600) // one read a minute, and there is a poll every five seconds
	w.pushes()
	for i := range 5 { // one more than there are workers
		w.pushes(func(p *stv1.ServiceTokenPush) {
			p.Name, p.Spec.Source.Rename = fmt.Sprintf("out-%d", i), []stv1.RenameStep{{Prefix: fmt.Sprintf("P%d_", i)}}
		})
	}
	for i := range 5 {
		w.Eventually(w.pushReason(fmt.Sprintf("out-%d", i)), time.Minute).Should(Equal(stv1.ReasonRateLimited))
	}
	w.Expect(w.pushMessage("out-4")).To(HavePrefix("writing waits for a read of prod:/pushed, "))
	w.pushes(func(p *stv1.ServiceTokenPush) { elsewhere.receives(p); p.Name = "elsewhere" })
	w.Eventually(w.pushReason("elsewhere"), 10*time.Second).Should(Equal(stv1.ReasonSynced))

	w.infisical.SetRateLimit(0, 0)
	w.Eventually(w.folder("/pushed"), 2*time.Minute).Should(HaveLen(6))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
}

// TestAPushThatIsDoneStaysReadyWhereReadsAreLate: the poll after a write takes its time, and until then there is nothing to wait for.
func TestAPushThatIsDoneStaysReadyWhereReadsAreLate(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"a poll will tell": func(*world) {},
		"a poll never tells": func(w *world) {
			w.project.Put("prod", "/pushed", "FOREIGN", "x")
			w.infisical.SetFault(devserver.Fault{WrongTag: true, SecretName: "FOREIGN"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			w.infisical.SetRateLimit(2, 600) // a poll, and the read before the write
			w.pushed(nil)
			w.wakePush("out")
			w.Consistently(w.pushReason("out"), 2*readTold+time.Second).Should(Equal(stv1.ReasonSynced))
		})
	}
}

// TestAPushThatCannotGoOnIsIdle: the read before a write is no reason for another one.
func TestAPushThatCannotGoOnIsIdle(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "X", "theirs")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "ours"})
	w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour} })
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Consistently(func() int { return w.infisical.Count("/api/v3/secrets", "") }, 6*time.Second).Should(BeNumerically("<=", 3), "a poll, the read before the write, and perhaps one by the end of the start")
}

// TestWhatIsUndoneBeforeTheNextPollIsFound: the poll finds what it found before the write, and that is not what was pushed.
func TestWhatIsUndoneBeforeTheNextPollIsFound(t *testing.T) {
	w := newWorld(t)
	var undone atomic.Bool
	w.pushed(nil, w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || undone.Swap(true) {
			return false
		}
		w.infisical.ServeHTTP(rw, r)
		w.project.Put("prod", "/pushed", "X", "one")
		return true
	}))
	w.setSecret("made", map[string]string{"X": "changed", "Y": "two"})
	w.Eventually(undone.Load).Should(BeTrue())
	w.Eventually(w.folder("/pushed"), time.Minute).Should(HaveKeyWithValue("X", "changed"))
}

// TestWhatIsChangedBesideASecretThatDoesNotOpenIsFound: no poll tells what is there.
func TestWhatIsChangedBesideASecretThatDoesNotOpenIsFound(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/pushed", "FOREIGN", "x")
	w.infisical.SetFault(devserver.Fault{WrongTag: true, SecretName: "FOREIGN"})
	w.pushed(nil)
	w.project.Put("prod", "/pushed", "X", "changed")
	w.Eventually(w.folder("/pushed")).Should(HaveKeyWithValue("X", "one"))
}

// TestManyNamesAreHealedInOneGo: a step is not the end of a heal.
func TestManyNamesAreHealedInOneGo(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", numbered(3*stepWrites))
	w.pushes()
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.Eventually(func() bool { return w.getPush("out").Status.Written != nil }).Should(BeTrue())
	for name := range numbered(3 * stepWrites) {
		w.project.Delete("prod", "/pushed", name)
	}
	w.Eventually(func() int { return len(w.folder("/pushed")()) }, 25*time.Second).Should(BeNumerically(">", 0))
	w.Eventually(w.folder("/pushed"), 10*time.Second).Should(Equal(numbered(3 * stepWrites)))
}

// TestWhatWasRefusedOnceIsHealedLater: a verdict is over when the name is as it should be.
func TestWhatWasRefusedOnceIsHealedLater(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", map[string]string{"X": "one"})
	var approves atomic.Bool
	w.pushes(w.front(asksForApproval(&approves)))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonPermissionDenied))
	w.project.Put("prod", "/pushed", "X", "one") // it is approved
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	approves.Store(true)
	w.project.Put("prod", "/pushed", "X", "changed")
	w.Eventually(w.folder("/pushed"), time.Minute).Should(HaveKeyWithValue("X", "one"))
}

// slowReads is a server before the real one that answers no read of secrets while it is told to hold them.
type slowReads struct {
	holds          atomic.Bool
	waiting, ended atomic.Int32 // reads that were held, and those of them whose client went away
	released       context.Context
	release        context.CancelFunc
}

func (s *slowReads) answer(_ http.ResponseWriter, r *http.Request) bool {
	if s.holds.Load() && r.Method == http.MethodGet && r.URL.Path == "/api/v3/secrets" {
		s.waiting.Add(1)
		select {
		case <-r.Context().Done():
			s.ended.Add(1)
		case <-s.released.Done():
		}
	}
	return false
}

// readingSlowly is a world in which a push of X waits for the read before its write.
func readingSlowly(t *testing.T) (*world, *slowReads) {
	t.Helper()
	w, server := newWorld(t), &slowReads{}
	w.stop()
	w.patience = time.Minute
	w.start()
	server.released, server.release = context.WithCancel(context.Background())
	w.pushed(nil, w.front(server.answer), func(p *stv1.ServiceTokenPush) { p.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour} })
	t.Cleanup(server.release) // before its own end, which waits for what it holds
	server.holds.Store(true)
	w.setSecret("made", map[string]string{"X": "changed"})
	w.Eventually(server.waiting.Load).Should(BeEquivalentTo(1))
	return w, server
}

// TestAReadEndsWithWhatItIsFor: nothing is read for a push that does not want it any longer, or not in this way.
func TestAReadEndsWithWhatItIsFor(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"suspended":     func(w *world) { w.changePush("out", func(p *stv1.ServiceTokenPush) { p.Spec.Suspend = true }) },
		"another token": func(w *world) { w.putToken(w.pushToken()) },
		"nothing to push": func(w *world) {
			w.Expect(w.client.Delete(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "made"}})).To(Succeed())
		},
		"no token": func(w *world) {
			w.Expect(w.client.Delete(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "infisical-token"}})).To(Succeed())
		},
		"deleted": func(w *world) { w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed()) },
	} {
		t.Run(name, func(t *testing.T) {
			w, server := readingSlowly(t)
			end(w)
			w.Eventually(server.ended.Load, 20*time.Second).Should(BeEquivalentTo(1), "long before --request-timeout")
		})
	}
}

// TestStepsOfSomebodyWhoCannotLookComeToAnEnd: what is found to be there in one step is not tried again in the next.
func TestStepsOfSomebodyWhoCannotLookComeToAnEnd(t *testing.T) {
	for policy, want := range map[stv1.UpdatePolicy]string{
		stv1.UpdatePolicyIfNotExists: stv1.ReasonSynced, stv1.UpdatePolicyOverwrite: stv1.ReasonNameConflict,
	} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t)
			for name := range numbered(stepWrites + 10) {
				w.project.Put("prod", "/pushed", name, "somebody's")
			}
			w.putToken(w.pushToken("write"))
			w.putSecret("made", numbered(stepWrites+20))
			w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.UpdatePolicy = policy })
			w.Eventually(w.pushReason("out")).Should(Equal(want))
			w.Consistently(func() int { return w.infisical.Count(writeRoute, "") }, time.Second).Should(Equal(stepWrites + 20))
			w.Expect(w.folder("/pushed")()).To(And(HaveLen(stepWrites+20), HaveKeyWithValue("K_000", "somebody's")))
			w.Expect(w.getPush("out").Status.Written.Names).To(HaveLen(10))
		})
	}
}

// TestARefreshOfManyNamesComesToAnEnd: it is asked for once, and not anew with each step.
func TestARefreshOfManyNamesComesToAnEnd(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken("write"))
	w.putSecret("made", numbered(2*stepWrites+10))
	w.pushes()
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.infisical.ResetLog()
	w.refreshPush("out")
	w.Eventually(func() int { return w.infisical.Count(writeRoute, "") }).Should(Equal(2*stepWrites + 10))
	w.Consistently(func() int { return w.infisical.Count(writeRoute, "") }, 2*time.Second).Should(Equal(2*stepWrites + 10))
}

// TestVerdictsAboutManyNamesDoNotKeepTheOthersBack, though there are more of them than a step has writes.
func TestVerdictsAboutManyNamesDoNotKeepTheOthersBack(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	names := numbered(stepWrites + 10)
	names["LAST"] = "x"
	w.putSecret("made", names)
	w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets/K_", Status: http.StatusBadRequest})
	w.pushes()
	w.Eventually(w.folder("/pushed")).Should(Equal(map[string]string{"LAST": "x"}))
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonBackendUnavailable))
	w.Expect(w.pushMessage("out")).To(HavePrefix("K_000: "))
	w.Expect(w.infisical.Count(writeRoute, "")).To(Equal(stepWrites + 11))
}

// TestWhatWasRefusedForSureGivesNoRight: that a folder was missing says that nothing was made in it.
func TestWhatWasRefusedForSureGivesNoRight(t *testing.T) {
	w := newWorld(t)
	w.putToken(w.pushToken("write"))
	w.putSecret("made", map[string]string{"X": "one"})
	w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.Destination.Path = "/later" })
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonPathNotFound))
	w.project.Put("prod", "/later", "X", "somebody's")
	w.setSecret("made", map[string]string{"X": "two"})
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonNameConflict))
	w.Expect(w.folder("/later")()).To(Equal(map[string]string{"X": "somebody's"}))
}

// TestADeletionThatIsInterruptedKeepsItsAccount: what is deleted already is not deleted once more, when somebody has made it anew.
func TestADeletionThatIsInterruptedKeepsItsAccount(t *testing.T) {
	w := newWorld(t)
	w.project.AddFolder("prod", "/pushed")
	w.putToken(w.pushToken())
	w.putSecret("made", numbered(30))
	w.pushes(func(p *stv1.ServiceTokenPush) { p.Spec.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.Eventually(w.pushReason("out")).Should(Equal(stv1.ReasonSynced))
	w.infisical.SetLatency(100 * time.Millisecond)
	w.Expect(w.client.Delete(w.ctx, w.getPush("out"))).To(Succeed())
	w.Eventually(func() int { return len(w.folder("/pushed")()) }).Should(BeNumerically("<", 25))
	w.stop()
	left := len(w.folder("/pushed")())
	w.Expect(left).To(BeNumerically(">", 1), "it was stopped in the middle")
	w.Expect(len(w.getPush("out").Status.Written.Names)).To(BeNumerically("~", left, 1), "the last one may be under way")
	w.project.Put("prod", "/pushed", "K_000", "somebody's")
	w.infisical.SetLatency(0)
	w.start()
	w.Eventually(w.gone).Should(BeTrue())
	w.Expect(w.folder("/pushed")()).To(Equal(map[string]string{"K_000": "somebody's"}))
}
