package webhook

import (
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

// TestWhatTheDevelopmentServerDeliversIsAccepted has the two sides of the contract, which were written apart, meet.
func TestWhatTheDevelopmentServerDeliversIsAccepted(t *testing.T) {
	g := NewWithT(t)
	b := newBell(t, nil)
	front := httptest.NewServer(b)
	t.Cleanup(front.Close)
	infisical := devserver.New(devserver.WithClock(b.clock))
	t.Cleanup(infisical.Close)
	p := infisical.AddProject(1)
	p.AddImport("dev", "/", "prod", "/app")
	p.AddWebhook(front.URL, secret)
	p.AddWebhook(front.URL, "hunter3")
	p.Put("prod", "/app", "KEY", "value")
	p.Put("prod", "/app", "KEY", "another")
	g.Eventually(func() map[string]int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return map[string]int{Accepted: b.outcomes[Accepted], Forged: b.outcomes[Forged]}
	}, 10*time.Second).Should(Equal(map[string]int{Accepted: 4, Forged: 4}))
	infisical.Close()
	changed, imports := Change{p.ID(), "prod", "/app"}, Change{p.ID(), "dev", "/"}
	g.Expect(b.changes).To(ConsistOf(changed, imports, changed, imports))
	g.Expect(b.outcomes).To(HaveLen(2))
}
