package controllers

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// ringing starts an operator that receives webhooks, and returns where.
func ringing(t *testing.T, secret string) (w *world, url string) {
	t.Helper()
	w = newWorld(t)
	w.stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	w.Expect(listener.Close()).To(Succeed())
	dir := t.TempDir()
	w.Expect(os.WriteFile(filepath.Join(dir, "shop"), []byte(secret+"\n"), 0o600)).To(Succeed())
	w.webhook = Webhook{Address: address, SecretsDir: dir}
	w.start()
	w.Eventually(func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}).Should(Succeed())
	t.Cleanup(w.infisical.Close)
	return w, "http://" + address + "/"
}

func TestAWebhookBringsAChangeInASecond(t *testing.T) {
	w, url := ringing(t, "s3cret")
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour} })
	w.project.AddWebhook(url, "s3cret")
	for _, value := range []string{"one", "two", "three"} {
		began := time.Now()
		w.project.Put("prod", "/shop", "A", value)
		w.Eventually(w.data("shop-env"), time.Second).Should(HaveKeyWithValue("A", value))
		t.Logf("changed value to changed Secret in %s", time.Since(began).Round(time.Millisecond))
	}
	w.Eventually(w.gathered).Should(HaveKeyWithValue("servicetoken_webhook_deliveries_total,accepted", 3.0))
}

func TestAForgedDeliveryChangesNothing(t *testing.T) {
	w, url := ringing(t, "s3cret")
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour} })
	w.project.AddWebhook(url, "another secret")
	before := w.infisical.Count("/api/v3/secrets", "")
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.gathered).Should(HaveKeyWithValue("servicetoken_webhook_deliveries_total,forged", 1.0))
	for outcome, body := range map[string]string{"oversized": strings.Repeat("x", 1<<17), "forged": "{}"} {
		answer, err := http.Post(url, "application/json", strings.NewReader(body))
		w.Expect(err).NotTo(HaveOccurred())
		_ = answer.Body.Close()
		w.Expect(answer.StatusCode).To(BeNumerically(">=", 400), outcome)
	}
	w.Consistently(func() int { return w.infisical.Count("/api/v3/secrets", "") }, "1s").Should(Equal(before))
	w.Expect(w.data("shop-env")()).To(HaveKeyWithValue("A", "alpha"))
	w.Expect(w.gathered()).To(And(
		HaveKeyWithValue("servicetoken_webhook_deliveries_total,forged", 2.0), HaveKeyWithValue("servicetoken_webhook_deliveries_total,oversized", 1.0)))
}
