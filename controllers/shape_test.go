package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// shopful fills the test's project with what the tests of shapes read.
func shopful(w *world) {
	for name, value := range map[string]string{
		"DB_URL": "postgres://${DB_HOST}/shop", "DB_HOST": "db", "DB_TEST": "t", "API_KEY": "key", "REGION": "EU", "with space": "s",
	} {
		w.project.Put("prod", "/full", name, value)
	}
	w.project.Tag("prod", "/full", "API_KEY", "web")
	w.project.Put("prod", "/payment", "TOKEN", "pay")
}

func full(change func(*stv1.Source)) func(*stv1.ServiceTokenSecret) {
	return func(o *stv1.ServiceTokenSecret) {
		s := stv1.Source{Environment: "prod", Path: "/full"}
		change(&s)
		o.Spec.Sources = []stv1.Source{s}
	}
}

var dbOnly = []stv1.NamePattern{{Glob: "DB_*"}}

func TestTheSpecSaysWhatIsTakenAndUnderWhichKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*stv1.ServiceTokenSecret)
		want   map[string]string
	}{
		"include and exclude": {
			full(func(s *stv1.Source) { s.Include, s.Exclude = dbOnly, []stv1.NamePattern{{Regexp: "_(TEST|HOST)$"}} }),
			map[string]string{"DB_URL": "postgres://db/shop"}, // what is left out can be referred to
		},
		"tags": {full(func(s *stv1.Source) { s.Tags = []string{"web", "other"} }), map[string]string{"API_KEY": "key"}},
		"rename": {
			full(func(s *stv1.Source) {
				s.Include = dbOnly
				s.Rename = []stv1.RenameStep{{Regexp: &stv1.Replacement{Source: "^DB_(.*)$", Target: "database-${1}"}}, {Case: stv1.CaseUpper}, {Prefix: "X."}, {Suffix: ".x"}}
			}),
			map[string]string{"X.DATABASE-URL.x": "postgres://db/shop", "X.DATABASE-HOST.x": "db", "X.DATABASE-TEST.x": "t"},
		},
		"the same folder twice": {
			func(o *stv1.ServiceTokenSecret) {
				o.Spec.Sources = []stv1.Source{
					{Environment: "prod", Path: "/full", Include: []stv1.NamePattern{{Glob: "API_KEY"}}},
					{Environment: "prod", Path: "/full", Include: []stv1.NamePattern{{Glob: "API_KEY"}}, Rename: []stv1.RenameStep{{Case: stv1.CaseKebab}}},
				}
			},
			map[string]string{"API_KEY": "key", "api-key": "key"},
		},
		"single secrets alone": {
			func(o *stv1.ServiceTokenSecret) {
				o.Spec.Sources = nil
				o.Spec.Data = []stv1.DataEntry{{Key: "url", Name: "DB_URL", Environment: "prod", Path: "/full/"}, {Key: "TOKEN", Environment: "prod", Path: "/payment"}}
			},
			map[string]string{"url": "postgres://db/shop", "TOKEN": "pay"},
		},
		"single secrets over sources": {
			func(o *stv1.ServiceTokenSecret) {
				o.Spec.Data = []stv1.DataEntry{{Key: "A", Name: "B"}, {Key: "C", Name: "API_KEY", Path: "/full"}}
			},
			map[string]string{"A": "beta", "B": "beta", "C": "key"}, // A and B are in the first source
		},
		"names that are no keys are left out": {
			func(o *stv1.ServiceTokenSecret) {
				full(func(s *stv1.Source) { s.Include = []stv1.NamePattern{{Glob: "*space"}, {Glob: "REGION"}} })(o)
				o.Spec.InvalidKeys = stv1.InvalidKeysSkip
			},
			map[string]string{"REGION": "EU"},
		},
		"names that are no keys are replaced": {
			func(o *stv1.ServiceTokenSecret) {
				full(func(s *stv1.Source) { s.Include = []stv1.NamePattern{{Glob: "*space"}} })(o)
				o.Spec.InvalidKeys = stv1.InvalidKeysReplace
			},
			map[string]string{"with_space": "s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			shopful(w)
			w.synced(tt.change)
			w.Expect(w.data("shop-env")()).To(Equal(tt.want))
		})
	}
}

func TestASingleSecretIsInTheTokensOnlyScopeByDefault(t *testing.T) {
	w := newWorld(t)
	w.putToken(w.token(func(s *devserver.TokenSpec) { s.Scopes = servicetoken.Scopes{{Environment: "prod", Path: "/shop"}} }))
	w.object(func(o *stv1.ServiceTokenSecret) {
		o.Spec.Sources, o.Spec.Data = nil, []stv1.DataEntry{{Key: "a", Name: "A"}}
	})
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"a": "alpha"}))
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"a": "changed"}))
}

func TestWhatIsLeftOutIsNamed(t *testing.T) {
	w := newWorld(t)
	shopful(w)
	w.synced(func(o *stv1.ServiceTokenSecret) {
		full(func(*stv1.Source) {})(o)
		o.Spec.InvalidKeys = stv1.InvalidKeysSkip
	})
	w.Expect(w.message("shop")).To(Equal("Secret shop-env holds 5 keys; left out, as they are no valid keys: with space"))
}

func templated(t stv1.Template) func(*stv1.ServiceTokenSecret) {
	return func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Template = &t }
}

func TestTemplatesMakeKeysLabelsAndAnnotations(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.client.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "files"}, Data: map[string]string{
		"one.conf": "a={{ .A }}", "two.conf": "b={{ .B }}",
	}})).To(Succeed())
	w.synced(templated(stv1.Template{
		MergePolicy: stv1.MergePolicyMerge,
		Data:        map[string]string{"B": "{{ .B | upper }}", "two.conf": "mine"},
		TemplateFrom: []stv1.TemplateSource{
			{ConfigMap: stv1.ConfigMapTemplates{Name: "files"}},
			{ConfigMap: stv1.ConfigMapTemplates{Name: "files", Items: []stv1.TemplateItem{{Key: "one.conf", As: "three.conf"}}}},
		},
		Labels:      map[string]string{"team": "{{ .A }}"},
		Annotations: map[string]string{"example.com/b": "{{ .B }}!"},
	}))
	w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "alpha", "B": "BETA", "one.conf": "a=alpha", "two.conf": "mine", "three.conf": "a=alpha"}))
	secret, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(secret.Labels).To(HaveKeyWithValue("team", "alpha"))
	w.Expect(secret.Annotations).To(HaveKeyWithValue("example.com/b", "beta!"))

	files := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "files"}, Data: map[string]string{"one.conf": "A={{ .A }}"}}
	w.Expect(w.client.Update(w.ctx, files)).To(Succeed())
	w.Eventually(w.data("shop-env")).Should(And(HaveKeyWithValue("three.conf", "A=alpha"), HaveKeyWithValue("two.conf", "mine")))

	w.change("shop", templated(stv1.Template{Data: map[string]string{"only": "{{ .A }}"}}))
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"only": "alpha"}))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced))
}

// TestWhatCannotBeShapedIsNamed gives an object that is in sync a spec that cannot be met: it says why, names the field or key, and the
// Secret stays as it was.
func TestWhatCannotBeShapedIsNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*stv1.ServiceTokenSecret)
		reason string
		says   []string
	}{
		"two names become one key": {func(o *stv1.ServiceTokenSecret) {
			o.Spec.Sources[0].Rename = []stv1.RenameStep{{Regexp: &stv1.Replacement{Source: "^.*$", Target: "X"}}}
		}, stv1.ReasonKeyConflict, []string{"A", "B", "X", "prod:/shop"}},
		"nothing is taken": {func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Include = dbOnly }, stv1.ReasonSourceEmpty, []string{"prod:/shop"}},
		"a name that is not there": {func(o *stv1.ServiceTokenSecret) { o.Spec.Data = []stv1.DataEntry{{Key: "k", Name: "NOPE"}} },
			stv1.ReasonReferenceUnresolved, []string{"NOPE", "k", "prod:/shop"}},
		"a folder that is not there": {func(o *stv1.ServiceTokenSecret) { o.Spec.Data = []stv1.DataEntry{{Key: "k", Path: "/nope"}} },
			stv1.ReasonPathNotFound, []string{"/nope"}},
		"a broken glob": {func(o *stv1.ServiceTokenSecret) {
			o.Spec.Sources[0].Include = []stv1.NamePattern{{Glob: "A"}, {Glob: "["}}
		},
			stv1.ReasonSpecInvalid, []string{"spec.sources[0].include[1]"}},
		"a key that nothing was read for": {func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Keys = []string{"A", "NOPE"} },
			stv1.ReasonReferenceUnresolved, []string{"Secret shop-env", "NOPE"}},
		"a template that does not parse": {templated(stv1.Template{Data: map[string]string{"app.yaml": "{{ .A "}}), stv1.ReasonTemplateFailed, []string{"Secret shop-env", "data[app.yaml]"}},
		"a template of what is not there": {templated(stv1.Template{Data: map[string]string{"app.yaml": "x\n{{ .NOPE }}"}}), stv1.ReasonTemplateFailed,
			[]string{"data[app.yaml]", "NOPE"}},
		"a label that is none": {templated(stv1.Template{MergePolicy: stv1.MergePolicyMerge, Labels: map[string]string{"team": "{{ .A }} {{ .B }}"}}),
			stv1.ReasonTemplateFailed, []string{"metadata.labels"}},
		"no ConfigMap": {templated(stv1.Template{TemplateFrom: []stv1.TemplateSource{{ConfigMap: stv1.ConfigMapTemplates{Name: "nope"}}}}),
			stv1.ReasonTemplateFailed, []string{"ConfigMap nope"}},
		"no key in the ConfigMap": {templated(stv1.Template{TemplateFrom: []stv1.TemplateSource{{ConfigMap: stv1.ConfigMapTemplates{
			Name: "kube-root-ca.crt", Items: []stv1.TemplateItem{{Key: "nope"}},
		}}}}), stv1.ReasonTemplateFailed, []string{"kube-root-ca.crt", "nope"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.putMap("kube-root-ca.crt", map[string]string{"ca.crt": "x"})
			w.synced()
			before, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			w.change("shop", tt.change)
			w.Eventually(w.reason("shop")).Should(Equal(tt.reason))
			for _, word := range tt.says {
				w.Expect(w.message("shop")).To(ContainSubstring(word))
			}
			w.Expect(w.message("shop")).NotTo(Or(ContainSubstring("alpha"), ContainSubstring("beta")))
			after, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			w.Expect(after).To(Equal(before))
		})
	}
}
