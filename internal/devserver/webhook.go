package devserver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// webhookTimeout is how long a receiver may take to answer.
const webhookTimeout = 15 * time.Second

// webhook is where a project tells that secrets were modified.
type webhook struct{ url, secret string }

// deliveries are on their way to webhooks, of all projects.
type deliveries struct {
	delay  time.Duration
	client http.Client
	cancel context.CancelFunc
	live   sync.WaitGroup

	//nolint:containedctx // the life of what is on its way, which outlives the calls that changed something
	ctx  context.Context
	last int64 // milliseconds; guarded by the server's lock
}

// newDeliveries has connections that end with their answer, so that none is left when the last delivery is over.
func newDeliveries() *deliveries {
	d := &deliveries{client: http.Client{Timeout: webhookTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// WithWebhookDelay makes deliveries wait, as a real server does for about 2.3 s after a change. It is 0 otherwise.
func WithWebhookDelay(d time.Duration) Option { return func(s *Server) { s.webhooks.delay = d } }

// AddWebhook makes the project deliver to a URL that secrets were modified: which folder it was, signed with the secret, and then
// each folder that imports it. Each delivery is tried once, whatever comes of it. Close ends them.
func (p *Project) AddWebhook(to, secret string) {
	defer p.lock()()
	parsed, err := url.Parse(to)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" || secret == "" {
		panic(wrong("a webhook has an http or https URL and a secret"))
	}
	p.webhooks = append(p.webhooks, webhook{to, secret})
}

// Close ends what is on its way to webhooks, waits until it has ended, and lets nothing follow. All else goes on.
func (s *Server) Close() {
	s.mu.Lock() // of two, the other is modified, which must not add to live what is not waited for
	s.webhooks.cancel()
	s.mu.Unlock()
	s.webhooks.live.Wait()
}

// modified delivers that secrets of a folder were changed: to be called after that, with the server's lock held.
func (p *Project) modified(environment, path string) {
	d := p.server.webhooks
	if len(p.webhooks) == 0 || d.ctx.Err() != nil {
		return
	}
	hooks, folders := slices.Clone(p.webhooks), p.affected(place{environment, cleaned(path)})
	d.live.Go(func() {
		p.server.wait(d.ctx, d.delay)
		for _, folder := range folders {
			for _, hook := range hooks {
				if d.ctx.Err() == nil {
					p.deliver(hook, folder)
				}
			}
		}
	})
}

// affected are the folder, then the folders that import it, then those that import these.
func (p *Project) affected(changed place) []place {
	found := []place{changed}
	for i := 0; i < len(found); i++ {
		for _, e := range p.environments {
			for _, path := range slices.Sorted(maps.Keys(e.folders)) {
				imports := func(of *folderImport) bool { return place{of.environment.slug, of.path} == found[i] }
				if into := (place{e.slug, path}); slices.ContainsFunc(e.folders[path].imports, imports) && !slices.Contains(found, into) {
					found = append(found, into)
				}
			}
		}
	}
	return found
}

// deliveryBody has its fields in the server's order.
type deliveryBody struct {
	Event     string          `json:"event"`
	Project   deliveryProject `json:"project"`
	Timestamp int64           `json:"timestamp"`
}

type deliveryProject struct {
	WorkspaceID string `json:"workspaceId"`
	Environment string `json:"environment"`
	SecretPath  string `json:"secretPath"`
}

// deliver tries once. Nobody is told when it fails, as nobody is by the real server.
func (p *Project) deliver(hook webhook, folder place) {
	d := p.server.webhooks
	at := p.server.millisecond()
	body, err := json.Marshal(deliveryBody{"secrets.modified", deliveryProject{p.id, folder.Environment, folder.Path}, at})
	if err != nil {
		return
	}
	r, err := http.NewRequestWithContext(d.ctx, http.MethodPost, hook.url, bytes.NewReader(body))
	if err != nil {
		return
	}
	mac := hmac.New(sha256.New, []byte(hook.secret))
	mac.Write(body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Infisical-Signature", fmt.Sprintf("t=%d;%s", at, hex.EncodeToString(mac.Sum(nil))))
	if answer, err := d.client.Do(r); err == nil {
		_ = answer.Body.Close() // nobody reads it
	}
}

// millisecond is now, but never the same twice: at a clock that stands still, a delivery would be a replay of the one before.
func (s *Server) millisecond() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.webhooks.last = max(s.webhooks.last+1, s.clock.Now().UnixMilli())
	return s.webhooks.last
}
