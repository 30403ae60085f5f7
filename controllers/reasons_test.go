package controllers

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// TestReasons reaches every reason of the condition Ready through the real reconciler, and checks what the status says, that
// an event says the same, and that a Secret which was synced before stays as it was.
func TestReasons(t *testing.T) {
	shop := func(change ...func(*stv1.ServiceTokenSecret)) func(*world) {
		return func(w *world) { w.putToken(w.token()); w.object(change...) }
	}
	tests := map[string]struct {
		reason string
		make   func(*world)
		says   string // a part of the message
		silent bool   // no event is raised
	}{
		"in sync":         {stv1.ReasonSynced, shop(), "Secret shop-env holds 2 keys", true},
		"suspended":       {stv1.ReasonSuspended, shop(func(o *stv1.ServiceTokenSecret) { o.Spec.Suspend = true }), "spec.suspend", false},
		"no token Secret": {stv1.ReasonTokenSecretNotFound, func(w *world) { w.object() }, `there is no Secret infisical-token`, false},
		"no key in the token Secret": {stv1.ReasonTokenSecretNotFound, func(w *world) {
			w.putSecret("infisical-token", map[string]string{"other": "x"})
			w.object()
		}, `has no key "token"`, false},
		"no CA bundle": {stv1.ReasonTokenSecretNotFound, shop(func(o *stv1.ServiceTokenSecret) {
			o.Spec.TLS = &stv1.TLS{CABundleRef: stv1.CABundleRef{Kind: "ConfigMap", Name: "ca"}}
		}), "there is no ConfigMap ca", false},
		"no token in the Secret": {stv1.ReasonTokenMalformed, func(w *world) {
			w.putToken("st.<id>.<secret>.<key>")
			w.object()
		}, `key "token" of Secret infisical-token: the token's second part`, false},
		"a token without key, and Client": {stv1.ReasonTokenMalformed, func(w *world) {
			w.putToken(w.token(func(s *devserver.TokenSpec) { s.WithoutKey = true }))
			w.object(func(o *stv1.ServiceTokenSecret) { o.Spec.Decryption = stv1.DecryptionClient })
		}, "no fourth part", false},
		"a token with another secret": {stv1.ReasonTokenRejected, func(w *world) {
			parts := strings.Split(w.token(), ".")
			parts[2] = strings.Repeat("0", 32)
			w.putToken(strings.Join(parts, "."))
			w.object()
		}, "rejected the token", false},
		"an expired token": {stv1.ReasonTokenExpired, func(w *world) {
			w.putToken(w.token(func(s *devserver.TokenSpec) { s.ExpiresIn = time.Nanosecond }))
			w.object()
		}, "expired", false},
		"a revoked token": {stv1.ReasonTokenRevoked, func(w *world) {
			token := w.token()
			w.infisical.Revoke(token)
			w.putToken(token)
			w.object()
		}, "does not know the service token", false},
		"outside the scopes": {stv1.ReasonScopeDenied, func(w *world) {
			w.putToken(w.token(func(s *devserver.TokenSpec) {
				s.Scopes = servicetoken.Scopes{{Environment: "dev", Path: "/db"}, {Environment: "dev", Path: "/x/**"}}
			}))
			w.object()
		}, "prod:/shop is outside the token's scopes: dev:/db, dev:/x/**", false},
		"no sources and several scopes": {stv1.ReasonScopeDenied, shop(func(o *stv1.ServiceTokenSecret) { o.Spec.Sources = nil }), "spec.sources is needed", false},
		"a token that may only write": {stv1.ReasonPermissionDenied, func(w *world) {
			w.putToken(w.token(func(s *devserver.TokenSpec) { s.Permissions = []string{"write"} }))
			w.object()
		}, "read permission", false},
		"no such environment": {stv1.ReasonEnvironmentNotFound, func(w *world) {
			w.putToken(w.token(func(s *devserver.TokenSpec) { s.Scopes = servicetoken.Scopes{{Environment: "qa", Path: "/**"}} }))
			w.object(func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Environment = "qa" })
		}, `no environment "qa"`, false},
		"no such folder": {stv1.ReasonPathNotFound, shop(func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Path = "/nope" }), `no folder "/nope"`, false},
		"an empty folder": {stv1.ReasonSourceEmpty, func(w *world) {
			w.project.AddFolder("prod", "/empty")
			w.putToken(w.token())
			w.object(func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Path = "/empty" })
		}, "prod:/empty exists and holds no secrets", false},
		"a field that does not open": {stv1.ReasonDecryptionFailed, func(w *world) {
			w.infisical.SetFault(devserver.Fault{WrongTag: true, SecretName: "B"})
			w.putToken(w.token())
			w.object()
		}, "in prod:/shop: B: the encrypted field does not open", false},
		"Client on a project of version 3": {stv1.ReasonDecryptionFailed, func(w *world) {
			w.project = w.infisical.AddProject(3)
			w.project.Put("prod", "/shop", "A", "alpha")
			w.putToken(w.token())
			w.object(func(o *stv1.ServiceTokenSecret) { o.Spec.Decryption = stv1.DecryptionClient })
		}, "version 3", false},
		"no key here and none at the server": {stv1.ReasonDecryptionFailed, func(w *world) {
			w.project = w.infisical.AddStrictProject()
			w.project.Put("prod", "/shop", "A", "alpha")
			w.putToken(w.token(func(s *devserver.TokenSpec) { s.WithoutKey = true }))
			w.object()
		}, "holds no key", false},
		"a reference to nothing": {stv1.ReasonReferenceUnresolved, func(w *world) {
			w.project.Put("prod", "/shop", "URL", "https://${NOPE}/")
			shop()(w)
		}, "URL", false},
		"a reference out of the scopes": {stv1.ReasonReferenceUnresolved, func(w *world) {
			w.project.Put("staging", "/", "HOST", "h")
			w.project.Put("prod", "/shop", "URL", "https://${staging.HOST}/")
			shop()(w)
		}, "outside the token's scopes", false},
		"a name that is no key": {stv1.ReasonKeyInvalid, func(w *world) {
			w.project.Put("prod", "/shop", "with space", "x")
			shop()(w)
		}, "with space", false},
		"a key in two sources": {stv1.ReasonKeyConflict, func(w *world) {
			w.project.Put("dev", "/", "A", "another")
			shop(func(o *stv1.ServiceTokenSecret) {
				o.Spec.Sources = append(o.Spec.Sources, stv1.Source{Environment: "dev", Path: "/"})
				o.Spec.KeyConflicts = stv1.KeyConflictsError
			})(w)
		}, "A", false},
		"data that the type does not take": {stv1.ReasonTemplateFailed, shop(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Type = "kubernetes.io/tls" }), "tls.crt", false},
		"a glob that is none": {stv1.ReasonSpecInvalid, shop(func(o *stv1.ServiceTokenSecret) {
			o.Spec.Sources[0].Include = []stv1.NamePattern{{Glob: "["}}
		}), "spec.sources[0].include[0]", false},
		"somebody else's Secret": {stv1.ReasonTargetConflict, func(w *world) {
			w.putSecret("shop-env", map[string]string{"MINE": "x"})
			shop()(w)
		}, "shop-env", false},
		"more than a Secret holds": {stv1.ReasonTargetTooLarge, func(w *world) {
			for _, name := range []string{"BIG_1", "BIG_2"} {
				w.project.Put("prod", "/shop", name, strings.Repeat("x", 600<<10))
			}
			shop()(w)
		}, "1048576", false},
		"a link-local host": {stv1.ReasonHostNotAllowed, shop(func(o *stv1.ServiceTokenSecret) { o.Spec.HostURL = "http://169.254.169.254" }), "link-local", false},
		"a rate limit": {stv1.ReasonRateLimited, func(w *world) {
			w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets", Status: 429})
			shop()(w)
		}, "rate limit", false},
		"a server that fails": {stv1.ReasonBackendUnavailable, func(w *world) {
			w.infisical.SetFault(devserver.Fault{Status: 500})
			shop()(w)
		}, "status 500", false},
		"a server that is not there": {stv1.ReasonBackendUnavailable, shop(func(o *stv1.ServiceTokenSecret) { o.Spec.HostURL = "http://127.0.0.1:1" }), "refused", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.make(w)
			w.Eventually(w.reason("shop")).Should(Equal(tt.reason))
			w.Expect(w.message("shop")).To(ContainSubstring(tt.says))
			if tt.silent {
				w.Consistently(w.events("shop"), "1s").Should(BeEmpty())
			} else {
				w.Eventually(w.events("shop")).Should(HaveKeyWithValue(tt.reason, 1))
			}
			if tt.reason != stv1.ReasonSynced && tt.reason != stv1.ReasonTargetConflict {
				w.Expect(w.data("shop-env")()).To(BeNil())
			}
		})
	}
	reached := map[string]bool{}
	for _, tt := range tests {
		reached[tt.reason] = true
	}
	for _, reason := range readyReasons {
		if !reached[reason] {
			t.Errorf("no test reaches %s", reason)
		}
	}
}

// readyReasons are the reasons that docs/troubleshooting.md lists, but for WriteFailed (TestAWriteThatFailsForAWhileIsSaid), and
// NamespaceForbidden, which is the other kind's (TestForbiddenNamespacesAreClosed).
var readyReasons = []string{
	stv1.ReasonSynced, stv1.ReasonSuspended, stv1.ReasonTokenSecretNotFound, stv1.ReasonTokenMalformed, stv1.ReasonTokenRejected,
	stv1.ReasonTokenExpired, stv1.ReasonTokenRevoked, stv1.ReasonScopeDenied, stv1.ReasonPermissionDenied,
	stv1.ReasonEnvironmentNotFound, stv1.ReasonPathNotFound, stv1.ReasonSourceEmpty, stv1.ReasonDecryptionFailed,
	stv1.ReasonReferenceUnresolved, stv1.ReasonKeyInvalid, stv1.ReasonKeyConflict, stv1.ReasonTemplateFailed,
	stv1.ReasonTargetConflict, stv1.ReasonTargetTooLarge, stv1.ReasonHostNotAllowed, stv1.ReasonRateLimited,
	stv1.ReasonBackendUnavailable, stv1.ReasonSpecInvalid,
}

// TestNoFailureTouchesASyncedSecret lets everything go wrong after the first sync: the Secret must stay byte for byte, and be
// right again once the failure is over.
func TestNoFailureTouchesASyncedSecret(t *testing.T) {
	for name, tt := range map[string]struct {
		reason  string
		fail    func(w *world, token string)
		recover func(w *world, token string)
	}{
		"the server fails": {stv1.ReasonBackendUnavailable,
			func(w *world, _ string) { w.infisical.SetFault(devserver.Fault{Status: 502}) },
			func(w *world, _ string) { w.infisical.ClearFaults() }},
		"the answer is cut": {stv1.ReasonBackendUnavailable,
			func(w *world, _ string) {
				w.project.Put("prod", "/shop", "A", "changed")
				w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets", CutBody: true})
			},
			func(w *world, _ string) { w.infisical.ClearFaults() }},
		"the answer is corrupt": {stv1.ReasonBackendUnavailable,
			func(w *world, _ string) {
				w.project.Put("prod", "/shop", "A", "changed")
				w.infisical.SetFault(devserver.Fault{Route: "/api/v3/secrets", CorruptBody: true})
			},
			func(w *world, _ string) { w.infisical.ClearFaults() }},
		"a field does not open": {stv1.ReasonDecryptionFailed,
			func(w *world, _ string) {
				w.project.Put("prod", "/shop", "A", "changed")
				w.infisical.SetFault(devserver.Fault{WrongTag: true, SecretName: "A"})
			},
			func(w *world, _ string) { w.infisical.ClearFaults() }},
		"the folder is emptied": {stv1.ReasonSourceEmpty,
			func(w *world, _ string) {
				w.project.Delete("prod", "/shop", "A")
				w.project.Delete("prod", "/shop", "B")
			},
			func(w *world, _ string) {
				w.project.Put("prod", "/shop", "A", "alpha")
				w.project.Put("prod", "/shop", "B", "beta")
			}},
		"the folder is deleted": {stv1.ReasonPathNotFound,
			func(w *world, _ string) { w.project.DeleteFolder("prod", "/shop") },
			func(w *world, _ string) {
				w.project.Put("prod", "/shop", "A", "alpha")
				w.project.Put("prod", "/shop", "B", "beta")
			}},
		"the environment is renamed": {stv1.ReasonEnvironmentNotFound,
			func(w *world, _ string) { w.project.RenameEnvironment("prod", "production") },
			func(w *world, _ string) { w.project.RenameEnvironment("production", "prod") }},
		"the token is revoked": {stv1.ReasonTokenRevoked,
			func(w *world, token string) { w.infisical.Revoke(token) },
			func(w *world, _ string) { w.putToken(w.token()) }},
		"the token Secret is deleted": {stv1.ReasonTokenSecretNotFound,
			func(w *world, _ string) {
				w.Expect(w.client.Delete(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "infisical-token"}})).To(Succeed())
			},
			func(w *world, token string) { w.putToken(token) }},
		"a name is no key": {stv1.ReasonKeyInvalid,
			func(w *world, _ string) { w.project.Put("prod", "/shop", "no key", "x") },
			func(w *world, _ string) { w.project.Delete("prod", "/shop", "no key") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			token := w.synced()
			before, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			tt.fail(w, token)
			w.refresh("shop")
			w.Eventually(w.reason("shop")).Should(Equal(tt.reason))
			after, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			w.Expect(after).To(Equal(before))
			tt.recover(w, token)
			w.refresh("shop")
			w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
		})
	}
}
