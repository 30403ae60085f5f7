package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

const (
	secret  = "hunter2-hunter2-hunter2"
	project = "9a05ba10-be1c-442d-b05d-9864b0ff3f38"
)

// bell is a handler at a time that only tests move on, and what came of it.
type bell struct {
	http.Handler
	clock   *clocktesting.FakeClock
	secrets []string
	asked   int // for secrets

	mu       sync.Mutex
	changes  []Change
	outcomes map[string]int
}

func newBell(t *testing.T, leads <-chan struct{}) *bell {
	t.Helper()
	b := &bell{
		clock:    clocktesting.NewFakeClock(time.Date(2026, time.November, 23, 15, 0, 0, 0, time.UTC)),
		secrets:  []string{secret},
		outcomes: map[string]int{},
	}
	b.Handler = NewHandler(Options{
		Clock: b.clock, Leads: leads,
		Secrets: func() (all [][]byte) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.asked++
			for _, s := range b.secrets {
				all = append(all, []byte(s))
			}
			return all
		},
		Modified: func(c Change) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changes = append(b.changes, c)
		},
		Observe: func(outcome string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.outcomes[outcome]++
		},
	})
	return b
}

// body is a delivery for prod:/app that is sent now, plus a while.
func (b *bell) body(plus time.Duration) string {
	return b.of(fmt.Sprintf(`{"workspaceId":%q,"environment":"prod","secretPath":"/app"}`, project), plus)
}

// of is one with another project object.
func (b *bell) of(object string, plus time.Duration) string {
	return fmt.Sprintf(`{"event":"secrets.modified","project":%s,"timestamp":%d}`, object, b.clock.Now().Add(plus).UnixMilli())
}

// header signs a body.
func (b *bell) header(body, key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return fmt.Sprintf("t=%d;%s", b.clock.Now().UnixMilli(), hex.EncodeToString(mac.Sum(nil)))
}

// post delivers; an empty header is none.
func (b *bell) post(body, header string) *httptest.ResponseRecorder {
	return b.send(http.MethodPost, strings.NewReader(body), header)
}

func (b *bell) send(method string, body io.Reader, header string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", body)
	if header != "" {
		r.Header.Set("x-infisical-signature", header)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}
