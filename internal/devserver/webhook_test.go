package devserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

// receiver is a server that takes deliveries and answers them with a status.
type receiver struct {
	*httptest.Server
	t      *testing.T
	secret string
	came   chan delivered
}

type delivered struct {
	body      []byte
	timestamp int64
	place     string // project environment:path
}

func newReceiver(t *testing.T, secret string, status int) *receiver {
	t.Helper()
	r := &receiver{t: t, secret: secret, came: make(chan delivered, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		var got deliveryBody
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%v in %s", err, body)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		want := fmt.Sprintf("t=%d;%s", got.Timestamp, hex.EncodeToString(mac.Sum(nil)))
		if q.Method != http.MethodPost || q.Header.Get("x-infisical-signature") != want || q.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v, want %s", q.Method, q.Header, want)
		}
		w.WriteHeader(status)
		r.came <- delivered{body, got.Timestamp, got.Project.WorkspaceID + " " + got.Project.Environment + ":" + got.Project.SecretPath}
	}))
	t.Cleanup(r.Close)
	return r
}

// next is the next delivery.
func (r *receiver) next() (d delivered) {
	r.t.Helper()
	NewWithT(r.t).Eventually(r.came, 10*time.Second).Should(Receive(&d))
	return d
}

// expect wants these places of a project next, in this order.
func (r *receiver) expect(p *Project, places ...string) {
	r.t.Helper()
	var got, want []string
	for _, place := range places {
		got, want = append(got, r.next().place), append(want, p.ID()+" "+place)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Error(diff)
	}
}

// nothing wants nothing to be on its way, and lets nothing follow.
func (r *receiver) nothing(h *harness) {
	r.t.Helper()
	h.Close()
	if left := len(r.came); left > 0 {
		r.t.Errorf("%d more deliveries, such as %s", left, (<-r.came).body)
	}
}

func TestAChangeIsDeliveredAsTheContractSays(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	r := newReceiver(t, "hunter2", http.StatusNoContent)
	p.AddWebhook(r.URL+"/hook", "hunter2")
	at := h.clock.Now().UnixMilli()
	p.Put("prod", "/app/", "KEY", "value")
	want := fmt.Sprintf(`{"event":"secrets.modified","project":{"workspaceId":%q,"environment":"prod","secretPath":"/app"},"timestamp":%d}`, p.ID(), at)
	if diff := cmp.Diff(want, string(r.next().body)); diff != "" {
		t.Error(diff)
	}
	p.Put("prod", "/app", "KEY", "value") // at the same time, for the clock stands still
	if got := r.next().timestamp; got != at+1 {
		t.Errorf("%d, want %d", got, at+1)
	}
	r.nothing(h)
}

func TestEveryChangeOfSecretsIsDeliveredOnce(t *testing.T) {
	h := newHarness(t)
	p, other := h.AddProject(1), h.AddProject(1)
	r := newReceiver(t, "hunter2", http.StatusInternalServerError) // which is no reason to try again
	h.manage(200, "POST /dev/projects/"+p.ID()+"/webhooks", `{"url": "`+r.URL+`", "secret": "hunter2"}`, nil)
	other.Put("prod", "/app", "KEY", "value")
	for _, change := range []func(){
		func() { p.Put("prod", "/app", "KEY", "value") },
		func() { p.PutDuplicate("prod", "/app", "KEY", "value") },
		func() { p.Tag("prod", "/app", "KEY", "tag") },
		func() { p.Delete("prod", "/app", "KEY") },
		func() {
			h.manage(200, "PUT /dev/projects/"+p.ID()+"/secrets", `{"environment": "prod", "path": "/app", "values": {"A": "1"}}`, nil)
		},
		func() {
			h.manage(200, "DELETE /dev/projects/"+p.ID()+"/secrets", `{"environment": "prod", "path": "/app", "names": ["A"]}`, nil)
		},
	} {
		change()
		r.expect(p, "prod:/app")
	}
	r.nothing(h)
}

func TestFoldersThatImportTheChangedOneFollow(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	p.AddImport("prod", "/a", "prod", "/shared")
	p.AddImport("dev", "/", "prod", "/shared")
	p.AddImport("prod", "/b", "prod", "/a")
	p.AddImport("prod", "/shared", "prod", "/b") // and round again
	p.AddImport("prod", "/c", "dev", "/shared")
	first, second := newReceiver(t, "hunter2", http.StatusNoContent), newReceiver(t, "hunter3", http.StatusNoContent)
	p.AddWebhook(first.URL, "hunter2")
	p.AddWebhook(second.URL, "hunter3")
	p.Put("prod", "/shared", "KEY", "value")
	for _, r := range []*receiver{first, second} {
		r.expect(p, "prod:/shared", "dev:/", "prod:/a", "prod:/b")
	}
	for _, r := range []*receiver{first, second} { // when both have come to their end, as this ends what is on its way
		r.nothing(h)
	}
}

func TestDeliveriesWait(t *testing.T) {
	g := NewWithT(t)
	h := newHarness(t, WithWebhookDelay(2300*time.Millisecond))
	p := h.AddProject(1)
	r := newReceiver(t, "hunter2", http.StatusNoContent)
	p.AddWebhook(r.URL, "hunter2")
	p.Put("prod", "/app", "KEY", "value")
	g.Eventually(h.clock.HasWaiters).Should(BeTrue())
	g.Expect(r.came).To(BeEmpty())
	h.clock.Step(2300 * time.Millisecond)
	if got := r.next().timestamp; got != h.clock.Now().UnixMilli() {
		t.Error(got)
	}

	p.Put("prod", "/app", "KEY", "again") // and is never told of
	r.nothing(h)
	p.Put("prod", "/app", "KEY", "closed")
	r.nothing(h)
}

func TestCloseEndsADeliveryUnderWay(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	came, free := make(chan struct{}), make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(came); <-free }))
	t.Cleanup(front.Close)
	t.Cleanup(func() { close(free) })
	p.AddWebhook(front.URL, "hunter2")
	p.Put("prod", "/app", "KEY", "value")
	<-came
	h.Close()
}

func TestAWebhookNeedsAURLAndASecret(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	for _, body := range []string{
		`{"url": "", "secret": "x"}`, `{"url": "/hook", "secret": "x"}`, `{"url": "ftp://host", "secret": "x"}`, `{"url": "http://%", "secret": "x"}`,
		`{"url": "http://host", "secret": ""}`,
	} {
		var out struct{ Error string }
		h.manage(http.StatusBadRequest, "POST /dev/projects/"+p.ID()+"/webhooks", body, &out)
		if !strings.Contains(out.Error, "a webhook has") {
			t.Errorf("%s: %s", body, out.Error)
		}
	}
}
