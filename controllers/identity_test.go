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
)

// identified makes an object read with an identity by Universal Auth, whose client id and secret are in a Secret.
func (w *world) identified(spec devserver.IdentitySpec) (devserver.Identity, func(*stv1.ServiceTokenSecret)) {
	w.t.Helper()
	identity := w.project.AddIdentity(spec)
	w.putSecret("infisical-identity", map[string]string{"clientId": identity.ClientID, "clientSecret": identity.ClientSecret})
	return identity, func(o *stv1.ServiceTokenSecret) {
		o.Spec.Auth = stv1.Auth{UniversalAuth: &stv1.UniversalAuth{Project: w.project.ID(), SecretRef: stv1.ClientSecretRef{Name: "infisical-identity"}}}
	}
}

// TestAnObjectMovesFromATokenToAnIdentity is what the how-to promises: one object changes, and its Secret does not.
func TestAnObjectMovesFromATokenToAnIdentity(t *testing.T) {
	w := newWorld(t)
	w.synced()
	before, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	identity, by := w.identified(devserver.IdentitySpec{})
	w.change("shop", by)
	w.Eventually(func() string { return w.get("shop").Status.Token.ID }).Should(Equal(identity.ClientID))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	after, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(after.ResourceVersion).To(Equal(before.ResourceVersion))
	status := w.get("shop").Status
	w.Expect(status.Usage).To(BeNil(), "there is nothing to count")
	for _, c := range status.Conditions {
		w.Expect(c.Type).NotTo(BeElementOf(stv1.ConditionRotationDue, stv1.ConditionTokenExpiring))
	}
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "changed"))
}

// TestAnIdentityNeverStopsSyncing lives through many access tokens, their revocation, and a rotated client secret.
func TestAnIdentityNeverStopsSyncing(t *testing.T) {
	w := newWorld(t)
	identity, by := w.identified(devserver.IdentitySpec{TTL: 2 * time.Second, MaxTTL: 4 * time.Second})
	w.object(by)
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	for _, value := range []string{"one", "two"} {
		w.project.Put("prod", "/shop", "A", value)
		w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", value))
	}
	logins := w.infisical.Count("/api/v1/auth/universal-auth/login", "")
	w.Expect(logins).To(BeNumerically(">", 2), "within more than five seconds")

	w.infisical.RevokeAccessTokens(identity.ClientID)
	w.project.Put("prod", "/shop", "A", "three")
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "three"))

	rotated := w.infisical.RotateClientSecret(identity.ClientID)
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTokenRejected))
	w.Expect(w.data("shop-env")()).To(HaveKeyWithValue("A", "three"))
	w.Expect(w.message("shop")).NotTo(ContainSubstring(identity.ClientSecret))
	w.putSecret("infisical-identity", map[string]string{"clientId": identity.ClientID, "clientSecret": rotated})
	w.project.Put("prod", "/shop", "A", "four")
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "four"))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}

func TestAnIdentityLogsInAsAServiceAccount(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.client.Create(w.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "shop"}})).To(Succeed())
	identity := w.project.AddIdentity(devserver.IdentitySpec{Accepts: func(jwt string) bool { return strings.Count(jwt, ".") == 2 }})
	by := func(account string) func(*stv1.ServiceTokenSecret) {
		return func(o *stv1.ServiceTokenSecret) {
			o.Spec.Auth = stv1.Auth{KubernetesAuth: &stv1.KubernetesAuth{
				Project: w.project.Slug(), IdentityID: identity.ID, ServiceAccountRef: stv1.ServiceAccountRef{Name: account},
			}}
		}
	}
	w.object(by("nobody"))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTokenSecretNotFound))
	w.Expect(w.message("shop")).To(ContainSubstring("ServiceAccount nobody"))
	w.change("shop", by("shop"))
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}
