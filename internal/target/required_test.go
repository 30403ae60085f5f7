package target

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestTypesAskForTheirKeysBeforeAnyRequest(t *testing.T) {
	tests := map[string]struct {
		kind    corev1.SecretType
		data    map[string][]byte
		missing []string
		why     string // empty when it is complete
	}{
		"tls":                      {corev1.SecretTypeTLS, pairs("tls.crt", "", "tls.key", ""), nil, ""},
		"tls, half":                {corev1.SecretTypeTLS, pairs("tls.crt", "hunter2"), []string{"tls.key"}, "type kubernetes.io/tls needs the keys tls.crt and tls.key; missing: tls.key"},
		"tls, nothing":             {corev1.SecretTypeTLS, nil, []string{"tls.crt", "tls.key"}, "; missing: tls.crt, tls.key"},
		"dockerconfigjson":         {corev1.SecretTypeDockerConfigJson, pairs(".dockerconfigjson", " {}"), nil, ""},
		"dockerconfigjson, none":   {corev1.SecretTypeDockerConfigJson, pairs("config", "{}"), []string{".dockerconfigjson"}, "needs the key .dockerconfigjson; missing: .dockerconfigjson"},
		"dockerconfigjson, text":   {corev1.SecretTypeDockerConfigJson, pairs(".dockerconfigjson", "{hunter2}"), nil, "needs the key .dockerconfigjson to be a JSON object, which it is not"},
		"dockerconfigjson, a list": {corev1.SecretTypeDockerConfigJson, pairs(".dockerconfigjson", `["hunter2"]`), nil, "to be a JSON object"},
		"dockercfg":                {corev1.SecretTypeDockercfg, pairs(".dockercfg", `{"a":1}`), nil, ""},
		"dockercfg, none":          {corev1.SecretTypeDockercfg, nil, []string{".dockercfg"}, "needs the key .dockercfg; missing"},
		"dockercfg, empty":         {corev1.SecretTypeDockercfg, pairs(".dockercfg", ""), nil, "to be a JSON object"},
		"basic-auth, user":         {corev1.SecretTypeBasicAuth, pairs("username", ""), nil, ""},
		"basic-auth, password":     {corev1.SecretTypeBasicAuth, pairs("password", ""), nil, ""},
		"basic-auth, neither":      {corev1.SecretTypeBasicAuth, pairs("user", "hunter2"), []string{"username", "password"}, "needs the key username or password; missing: username, password"},
		"ssh-auth":                 {corev1.SecretTypeSSHAuth, pairs("ssh-privatekey", "x"), nil, ""},
		"ssh-auth, none":           {corev1.SecretTypeSSHAuth, nil, []string{"ssh-privatekey"}, "needs the key ssh-privatekey; missing"},
		"ssh-auth, empty":          {corev1.SecretTypeSSHAuth, pairs("ssh-privatekey", ""), nil, "needs the key ssh-privatekey, which is empty"},
		"a type of one's own":      {"example.com/mine", nil, nil, ""},
		"no type":                  {"", nil, nil, ""},
	}
	w := newWorld(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := Desired{Namespace: w.ns, Name: "incomplete", Owner: shop(), Type: tc.kind, Data: tc.data}
			if tc.why == "" {
				d.Name = "complete"
				g.Expect(w.apply(d).Created).To(BeTrue(), "the API server thinks so too")
				g.Expect(w.Delete(t.Context(), d)).To(BeTrue())
				w.requests.take()
				return
			}
			_, err := w.Apply(t.Context(), d)
			var incomplete *IncompleteError
			g.Expect(errors.As(err, &incomplete)).To(BeTrue(), "%v", err)
			g.Expect(incomplete.Object).To(Equal(Object{KindSecret, types.NamespacedName{Namespace: w.ns, Name: "incomplete"}}))
			g.Expect(incomplete.Type).To(Equal(tc.kind))
			g.Expect(incomplete.Missing).To(Equal(tc.missing))
			g.Expect(err).To(MatchError(And(HavePrefix("Secret "+w.ns+"/incomplete: type "), ContainSubstring(tc.why))))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
			g.Expect(w.requests.take()).To(BeEmpty())
		})
	}
}

func TestAnIncompleteSecretLeavesTheLastGoodOne(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("tls.crt", "1", "tls.key", "1")
	d.Type = corev1.SecretTypeTLS
	before := w.applied(d)
	delete(d.Data, "tls.key")
	_, err := w.Apply(t.Context(), d)
	g.Expect(err).To(MatchError(ContainSubstring("missing: tls.key")))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
}

func TestNobodyGetsAServiceAccountsToken(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("A", "1")
	d.Type, d.Annotations = corev1.SecretTypeServiceAccountToken, map[string]string{corev1.ServiceAccountNameKey: "admin"}
	_, err := w.Apply(t.Context(), d)
	var conflict *ConflictError
	g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(ContainSubstring("its type may not be kubernetes.io/service-account-token")))
	g.Expect(w.requests.take()).To(BeEmpty())
}

func TestAMergeAsksForNoKeysOfAType(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil, "A", "1")
	d := w.merging("B", "2")
	d.Type = corev1.SecretTypeTLS
	g.Expect(w.apply(d).Changed).To(BeTrue())
}
