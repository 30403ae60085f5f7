package webhook

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOnlySignedAndRecentDeliveriesRing(t *testing.T) {
	now, long := sent(0), strings.Repeat("é", maxName+1)
	for name, tt := range map[string]struct {
		body    func(*bell) string
		key     string                     // to sign with, if not the secret
		header  func(digits string) string // made of the right signature, if it is not the right one
		status  int
		outcome string
	}{
		"valid":                          {body: now, status: 204, outcome: Accepted},
		"at the edge of the past":        {body: sent(-window), status: 204, outcome: Accepted},
		"at the edge of the future":      {body: sent(window), status: 204, outcome: Accepted},
		"signed in upper case":           {body: now, header: func(d string) string { return "t=1;" + strings.ToUpper(d) }, status: 204, outcome: Accepted},
		"another time in the header":     {body: now, header: func(d string) string { return "t=1;" + d }, status: 204, outcome: Accepted},
		"old":                            {body: sent(-window - time.Millisecond), status: 401, outcome: Stale},
		"from the future":                {body: sent(window + time.Millisecond), status: 401, outcome: Stale},
		"from the end of time":           {body: text(`{"event":"secrets.modified","timestamp":9223372036854775807}`), status: 401, outcome: Stale},
		"from the beginning of it":       {body: text(`{"event":"secrets.modified","timestamp":-9223372036854775808}`), status: 401, outcome: Stale},
		"without a time":                 {body: text(`{"event":"secrets.modified"}`), status: 401, outcome: Stale},
		"another event, old":             {body: text(`{"event":"test","timestamp":1}`), status: 401, outcome: Stale},
		"wrong secret":                   {body: now, key: "hunter3", status: 401, outcome: Forged},
		"no signature":                   {body: now, header: func(string) string { return "" }, status: 401, outcome: Forged},
		"no time in the header":          {body: now, header: func(d string) string { return d }, status: 401, outcome: Forged},
		"an empty time in the header":    {body: now, header: func(d string) string { return "t=;" + d }, status: 401, outcome: Forged},
		"a word for a time":              {body: now, header: func(d string) string { return "t=now;" + d }, status: 401, outcome: Forged},
		"nothing after the time":         {body: now, header: func(string) string { return "t=1" }, status: 401, outcome: Forged},
		"truncated signature":            {body: now, header: func(d string) string { return "t=1;" + d[:len(d)-2] }, status: 401, outcome: Forged},
		"lengthened signature":           {body: now, header: func(d string) string { return "t=1;" + d + "00" }, status: 401, outcome: Forged},
		"another signature":              {body: now, header: func(d string) string { return "t=1;" + d[2:] + d[:2] }, status: 401, outcome: Forged},
		"no hex":                         {body: now, header: func(d string) string { return "t=1;" + d[1:] + "x" }, status: 401, outcome: Forged},
		"malformed, but forged":          {body: text(`{"event":`), key: "hunter3", status: 401, outcome: Forged},
		"no JSON":                        {body: text(`{"event":`), status: 400, outcome: Malformed},
		"nothing":                        {body: text(``), status: 400, outcome: Malformed},
		"two values":                     {body: text(`{} {}`), status: 400, outcome: Malformed},
		"a list":                         {body: text(`[]`), status: 400, outcome: Malformed},
		"a time in words":                {body: text(`{"event":"secrets.modified","timestamp":""}`), status: 400, outcome: Malformed},
		"no project":                     {body: about(`{}`), status: 400, outcome: Malformed},
		"no environment":                 {body: about(`{"workspaceId":"a","secretPath":"/"}`), status: 400, outcome: Malformed},
		"no path":                        {body: about(`{"workspaceId":"a","environment":"b"}`), status: 400, outcome: Malformed},
		"a relative path":                {body: about(`{"workspaceId":"a","environment":"b","secretPath":"app"}`), status: 400, outcome: Malformed},
		"a long project":                 {body: about(`{"workspaceId":"` + long + `","environment":"b","secretPath":"/"}`), status: 400, outcome: Malformed},
		"a long environment":             {body: about(`{"workspaceId":"a","environment":"` + long + `","secretPath":"/"}`), status: 400, outcome: Malformed},
		"a long path":                    {body: about(`{"workspaceId":"a","environment":"b","secretPath":"/` + strings.Repeat("é", maxPath) + `"}`), status: 400, outcome: Malformed},
		"another event":                  {body: func(b *bell) string { return strings.Replace(b.body(0), modified, "test", 1) }, status: 202, outcome: Ignored},
		"another event, about no folder": {body: func(b *bell) string { return strings.Replace(b.of("null", 0), modified, "later", 1) }, status: 202, outcome: Ignored},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBell(t, nil)
			key := secret
			if tt.key != "" {
				key = tt.key
			}
			body := tt.body(b)
			header := b.header(body, key)
			if tt.header != nil {
				_, digits, _ := strings.Cut(header, ";")
				header = tt.header(digits)
			}
			w := b.post(body, header)
			if w.Code != tt.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if diff := cmp.Diff(map[string]int{tt.outcome: 1}, b.outcomes); diff != "" {
				t.Error(diff)
			}
			var want []Change
			if tt.outcome == Accepted {
				want = []Change{{ProjectID: project, Environment: "prod", Path: "/app"}}
			}
			if diff := cmp.Diff(want, b.changes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// sent, about and text are bodies: of a time, with a project object, and of these bytes.
func sent(plus time.Duration) func(*bell) string { return func(b *bell) string { return b.body(plus) } }
func about(object string) func(*bell) string     { return func(b *bell) string { return b.of(object, 0) } }
func text(body string) func(*bell) string        { return func(*bell) string { return body } }

func TestAnEmptySecretOpensNothing(t *testing.T) {
	b := newBell(t, nil)
	b.secrets = []string{"", secret}
	if b.post(b.body(0), b.header(b.body(0), "")); b.outcomes[Forged] != 1 {
		t.Error(b.outcomes)
	}
	if b.post(b.body(0), b.header(b.body(0), secret)); b.outcomes[Accepted] != 1 {
		t.Error(b.outcomes)
	}
}

func TestAPathHasNoTrailingSlash(t *testing.T) {
	for path, want := range map[string]string{"/": "/", "/app": "/app", "/app/": "/app", "/App/x": "/App/x", "//": "/"} {
		b := newBell(t, nil)
		body := b.of(fmt.Sprintf(`{"workspaceId":"a","environment":"b","secretPath":%q,"projectName":"later"}`, path), 0)
		b.post(body, b.header(body, secret))
		if diff := cmp.Diff([]Change{{"a", "b", want}}, b.changes); diff != "" {
			t.Error(diff)
		}
	}
}

func TestASignatureOfAnotherBodyIsForged(t *testing.T) {
	b := newBell(t, nil)
	if w := b.post(b.of(`{"workspaceId":"a","environment":"b","secretPath":"/"}`, 0), b.header(b.body(0), secret)); w.Code != 401 || b.outcomes[Forged] != 1 {
		t.Error(w.Code, b.outcomes)
	}
}

func TestWhatIsNoPostIsNoDelivery(t *testing.T) {
	b := newBell(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodOptions} {
		w := b.send(method, strings.NewReader(b.body(0)), b.header(b.body(0), secret))
		if w.Code != 405 || w.Header().Get("Allow") != "POST" || b.asked > 0 || len(b.outcomes) > 0 {
			t.Error(method, w.Code, w.Header(), b.outcomes)
		}
	}
}

func TestABodyThatIsTooLongIsNotRead(t *testing.T) {
	for name, tt := range map[string]struct {
		longer  int
		length  bool // is announced
		outcome string
		read    int
	}{
		"as long as it may be":    {0, true, Accepted, maxBody},
		"the same, not announced": {0, false, Accepted, maxBody},
		"one longer":              {1, true, Oversized, 0},
		"one longer, unannounced": {1, false, Oversized, maxBody + 1},
		"far longer, unannounced": {1 << 20, false, Oversized, maxBody + 1},
		"far longer":              {1 << 20, true, Oversized, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBell(t, nil)
			body := b.body(0)
			body += strings.Repeat(" ", maxBody+tt.longer-len(body))
			source := strings.NewReader(body)
			var reader io.Reader = source
			if !tt.length {
				reader = struct{ io.Reader }{source} // without what tells its length
			}
			w := b.send(http.MethodPost, reader, b.header(body, secret))
			if b.outcomes[tt.outcome] != 1 || (w.Code == 413) != (tt.outcome == Oversized) {
				t.Error(w.Code, b.outcomes)
			}
			if read := len(body) - source.Len(); read != tt.read {
				t.Errorf("%d bytes were read", read)
			}
		})
	}
}

func TestABodyWithoutAnEndIsMalformed(t *testing.T) {
	b := newBell(t, nil)
	w := b.send(http.MethodPost, io.MultiReader(strings.NewReader(b.body(0)), iotest.ErrReader(io.ErrUnexpectedEOF)), b.header(b.body(0), secret))
	if w.Code != 400 || b.outcomes[Malformed] != 1 || b.asked > 0 {
		t.Error(w.Code, b.outcomes)
	}
}

func TestADeliveryCountsOnce(t *testing.T) {
	b := newBell(t, nil)
	ahead := b.body(window) // which is fresh for longer than any other
	header := b.header(ahead, secret)
	_, digits, _ := strings.Cut(header, ";")
	want := map[string]int{}
	send := func(header, outcome string) {
		t.Helper()
		want[outcome]++
		b.post(ahead, header)
		if diff := cmp.Diff(want, b.outcomes); diff != "" {
			t.Error(diff)
		}
	}
	send(header, Accepted)
	send(header, Replayed)
	send("t=7;"+strings.ToUpper(digits), Replayed) // as the same bytes can be written
	b.clock.Step(window)
	send(header, Replayed)
	b.clock.Step(window)
	send(header, Replayed)
	b.clock.Step(time.Millisecond)
	send(header, Stale)
	if len(b.changes) != 1 {
		t.Error(b.changes)
	}
}

func TestAnIgnoredDeliveryIsNotTakenTwiceEither(t *testing.T) {
	b := newBell(t, nil)
	body := strings.Replace(b.body(0), modified, "test", 1)
	for range 2 {
		b.post(body, b.header(body, secret))
	}
	if diff := cmp.Diff(map[string]int{Ignored: 1, Replayed: 1}, b.outcomes); diff != "" {
		t.Error(diff)
	}
}

func TestSignaturesDoNotPileUp(t *testing.T) {
	b := newBell(t, nil)
	for i := range remembered + 100 {
		body := b.body(time.Duration(i-remembered/2) * time.Millisecond)
		b.post(body, b.header(body, secret))
	}
	if kept := len(b.Handler.(*receiver).seen.Keys()); kept != remembered || b.outcomes[Accepted] != remembered+100 {
		t.Errorf("%d signatures are kept of %v", kept, b.outcomes)
	}
}

func TestEachOfSeveralSecretsWillDo(t *testing.T) {
	b := newBell(t, nil)
	b.secrets = []string{"first", "second", "third"}
	for _, key := range b.secrets {
		body := b.body(0)
		if w := b.post(body, b.header(body, key)); w.Code != 204 {
			t.Error(key, w.Code)
		}
	}
	b.secrets = b.secrets[:1] // is read at each delivery
	body := b.body(time.Second)
	if w := b.post(body, b.header(body, "second")); w.Code != 401 {
		t.Error(w.Code)
	}
	b.secrets = nil
	if w := b.post(body, b.header(body, "first")); w.Code != 401 {
		t.Error(w.Code)
	}
}

func TestWhoDoesNotLeadReadsNoBody(t *testing.T) {
	leads := make(chan struct{})
	b := newBell(t, leads)
	body := b.body(0)
	w := b.send(http.MethodPost, iotest.ErrReader(io.ErrUnexpectedEOF), b.header(body, secret))
	if w.Code != 503 || b.outcomes[Elsewhere] != 1 || b.asked > 0 {
		t.Error(w.Code, b.outcomes)
	}
	close(leads)
	if w := b.post(body, b.header(body, secret)); w.Code != 204 {
		t.Error(w.Code)
	}
}

// TestOfManyCopiesAtOnceOneCounts sends each of ten deliveries fifty times at once.
func TestOfManyCopiesAtOnceOneCounts(t *testing.T) {
	b := newBell(t, nil)
	const deliveries, copies = 10, 50
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range deliveries {
		body := b.body(time.Duration(i) * time.Millisecond)
		header := b.header(body, secret)
		for range copies {
			all.Go(func() {
				<-start
				b.post(body, header)
			})
		}
	}
	close(start)
	all.Wait()
	if diff := cmp.Diff(map[string]int{Accepted: deliveries, Replayed: deliveries * (copies - 1)}, b.outcomes); diff != "" || len(b.changes) != deliveries {
		t.Error(diff)
	}
}

// TestAnswersTellNothing has a canary in every place that a sender can write to, and every kind of answer.
func TestAnswersTellNothing(t *testing.T) {
	const canary = "canary"
	leads := make(chan struct{})
	b, elsewhere := newBell(t, nil), newBell(t, leads)
	b.secrets = []string{canary + secret}
	object := `{"workspaceId":"` + canary + `","environment":"` + canary + `","secretPath":"/` + canary + `"}`
	sign := func(body string) string { return b.header(body, canary+secret) }
	texts := map[int]map[string]bool{}
	for _, body := range []string{
		b.of(object, 0), b.of(object, 0), b.of(object, time.Hour), b.of(`{"workspaceId":"`+canary+`"}`, 0), `{"` + canary,
		strings.Replace(b.of(object, 0), modified, canary, 1), strings.Repeat(canary, maxBody),
	} {
		for _, header := range []string{sign(body), canary, b.header(body, canary)} {
			for _, at := range []*bell{b, elsewhere} {
				for _, method := range []string{http.MethodPost, http.MethodGet} {
					w := at.send(method, strings.NewReader(body), header)
					text := fmt.Sprint(w.Header(), w.Body)
					if strings.Contains(text, canary) || strings.Contains(text, secret) {
						t.Errorf("%d %s", w.Code, text)
					}
					if texts[w.Code] == nil {
						texts[w.Code] = map[string]bool{}
					}
					texts[w.Code][text] = true
				}
			}
		}
	}
	for _, status := range []int{202, 204, 400, 401, 405, 413, 503} {
		if len(texts[status]) != 1 {
			t.Errorf("%d has these texts: %v", status, texts[status])
		}
	}
}

func TestAHandlerHasItsOwnClock(t *testing.T) {
	outcome := ""
	h := &bell{Handler: NewHandler(Options{Secrets: func() [][]byte { return [][]byte{[]byte(secret)} }, Observe: func(o string) { outcome = o }, Modified: func(Change) {}})}
	sender := newBell(t, nil)
	sender.clock.SetTime(time.Now())
	body := sender.body(0)
	if h.post(body, sender.header(body, secret)); outcome != Accepted {
		t.Error(outcome)
	}
}
