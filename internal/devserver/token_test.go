package devserver

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const tokenRoute = "/api/v2/service-token"

func TestCallersWithoutAGoodTokenAreToldSo(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	token := p.AddToken(TokenSpec{Name: "x", Scopes: everywhere})
	id := strings.Split(token, ".")[1]
	unknown := "65f1c0ffee65f1c0ffee65f1"
	wrong := strings.Repeat("0", 32)

	h.get("", tokenRoute).want(t, http.StatusUnauthorized, "UnauthorizedError", "Token missing")
	h.get("st."+id+"."+wrong, tokenRoute).want(t, http.StatusUnauthorized, "UnauthorizedError", "Invalid service token")
	h.get("st."+unknown+"."+wrong, tokenRoute).want(t, http.StatusNotFound, "NotFound", "Service token with ID '"+unknown+"' not found")
	h.get("st."+id, tokenRoute).want(t, http.StatusInternalServerError, "InternalServerError", "Something went wrong")
	h.get("eyJ.abc.def", tokenRoute).want(t, http.StatusForbidden, "TokenError",
		"The provided access token is malformed. Please use a valid token or generate a new one and try again.")
	if got := h.get(token, tokenRoute); got.status != http.StatusOK {
		t.Errorf("part 4 is not ignored: %d", got.status)
	}
	h.Revoke(token)
	h.Revoke(token)
	h.get(token, tokenRoute).want(t, http.StatusNotFound, "NotFound", "Service token with ID '"+id+"' not found")

	byID := p.AddToken(TokenSpec{ID: unknown})
	h.Revoke(unknown)
	h.get(byID, tokenRoute).want(t, http.StatusNotFound, "NotFound", "Service token with ID '"+unknown+"' not found")

	last := p.AddToken(TokenSpec{Name: "last"})
	if tokens := p.Tokens(); len(tokens) != 1 || tokens[0] != last {
		t.Errorf("tokens %v", tokens)
	}
	h.RemoveProject(p)
	h.get(last, tokenRoute).want(t, http.StatusNotFound, "NotFound", "Service token with ID '"+strings.Split(last, ".")[1]+"' not found")
}

func TestExpiredTokenIsRefusedOnceAndGoneAfterwards(t *testing.T) {
	h := newHarness(t)
	token := h.AddProject(1).AddToken(TokenSpec{ExpiresIn: time.Hour})
	got := h.get(token, tokenRoute)
	if got.status != http.StatusOK || *got.body.ExpiresAt != "2026-11-23T16:00:00.000Z" {
		t.Errorf("before: %s", got.text)
	}
	h.clock.Step(time.Hour + time.Millisecond)
	h.get(token, tokenRoute).want(t, http.StatusForbidden, "ForbiddenError", "Service token has expired")
	h.get(token, tokenRoute).want(t, http.StatusNotFound, "NotFound", "Service token with ID '"+strings.Split(token, ".")[1]+"' not found")
}

func TestTokenOpensTheProjectKeyUnlessMadeWithoutOne(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	const fixed = "st.11111111-2222-4333-8444-555555555555.0123456789abcdef0123456789abcdef.fedcba9876543210fedcba9876543210"
	for _, whole := range []string{p.AddToken(TokenSpec{Scopes: everywhere}), p.AddToken(TokenSpec{Token: fixed + "\n"})} {
		token, err := servicetoken.Parse(whole)
		if err != nil {
			t.Fatal(err)
		}
		body := h.get(token.Bearer(), tokenRoute).body
		key, err := token.OpenProjectKey(servicetoken.NewSealed(body.EncryptedKey, body.IV, body.Tag))
		if err != nil {
			t.Fatal(err)
		}
		p.Put("dev", "/", "A", "1")
		f := p.findFolder("dev", "/")
		if plain, err := key.Open(f.secrets[0].sealedValue.sealed()); err != nil || string(plain) != "1" {
			t.Errorf("%q %v", plain, err)
		}
	}
	bare := p.AddToken(TokenSpec{WithoutKey: true, Scopes: everywhere})
	if token, err := servicetoken.Parse(bare); err != nil || token.HasKey() {
		t.Errorf("%v %v", token, err)
	}
	body := h.get(bare, tokenRoute).body
	if body.EncryptedKey != nil || body.IV != nil || body.Tag != nil || body.ExpiresAt != nil || body.LastUsed != nil {
		t.Errorf("%+v", body)
	}
}

func TestLastUsedChangesTheTokensETagAboutAMinuteAfterUse(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	first := h.get(token, tokenRoute)
	h.clock.Step(30 * time.Second)
	if got := h.sealed(token, p.ID(), "dev", "/"); got.status != http.StatusOK {
		t.Fatal(got.text)
	}
	if got := h.get(token, tokenRoute, "If-None-Match", first.header.Get("ETag")); got.status != http.StatusNotModified {
		t.Errorf("after 30 s: %d", got.status)
	}
	h.clock.Step(30 * time.Second)
	got := h.get(token, tokenRoute, "If-None-Match", first.header.Get("ETag"))
	if got.status != http.StatusOK || *got.body.LastUsed != "2026-11-23T15:00:30.000Z" || got.body.UpdatedAt != "2026-11-23T15:01:00.000Z" {
		t.Errorf("after 60 s: %d %s", got.status, got.text)
	}
}

func TestLatencyIsPaidByAuthenticatedRequests(t *testing.T) {
	h := newHarness(t, WithLatency(85*time.Millisecond))
	token := h.AddProject(1).AddToken(TokenSpec{})
	if got := h.get("", tokenRoute); got.status != http.StatusUnauthorized { // answers although the clock stands still
		t.Error(got.status)
	}
	answered := make(chan reply, 1)
	go func() { answered <- h.get(token, tokenRoute) }()
	for !h.clock.HasWaiters() {
		select {
		case got := <-answered:
			t.Fatalf("answered %d without waiting", got.status)
		default:
		}
	}
	h.clock.Step(85 * time.Millisecond)
	if got := <-answered; got.status != http.StatusOK {
		t.Error(got.status)
	}
	h.SetLatency(0)
	h.get(token, tokenRoute)
}

func TestTheSameRandomnessMakesTheSameServer(t *testing.T) {
	var texts []string
	for range 2 {
		h := newHarness(t, WithRandom(bytes.NewReader(bytes.Repeat([]byte("0123456789abcdefghi"), 400))))
		p := h.AddProject(1)
		p.Put("dev", "/a", "A", "1")
		texts = append(texts, h.sealed(p.AddToken(TokenSpec{Scopes: everywhere}), p.ID(), "dev", "/a").text)
	}
	if texts[0] != texts[1] {
		t.Error("they differ")
	}
}

func TestMistakesInTestsPanic(t *testing.T) {
	h := newHarness(t)
	p, v3 := h.AddProject(1), h.AddProject(3)
	token := p.AddToken(TokenSpec{})
	for name, mistake := range map[string]func(){
		"version":              func() { h.AddProject(4) },
		"environment missing":  func() { p.Put("qa", "/", "A", "1") },
		"environment twice":    func() { p.AddEnvironment("dev") },
		"environment empty":    func() { p.AddEnvironment("") },
		"renamed to existing":  func() { p.RenameEnvironment("dev", "prod") },
		"path without a slash": func() { p.AddFolder("dev", "db") },
		"path with two":        func() { p.AddFolder("dev", "/a//b") },
		"folder missing":       func() { p.DeleteFolder("dev", "/nope") },
		"root folder":          func() { p.DeleteFolder("dev", "/") },
		"secret missing":       func() { p.Delete("dev", "/", "NOPE") },
		"tag of nothing":       func() { p.Tag("dev", "/nope", "NOPE", "x") },
		"token malformed":      func() { p.AddToken(TokenSpec{Token: "st.x.y"}) },
		"token twice":          func() { p.AddToken(TokenSpec{Token: token}) },
		"migrated":             func() { v3.Migrate() },
		"no randomness":        func() { New(WithRandom(strings.NewReader(""))) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if _, ok := recover().(misuseError); !ok {
					t.Error("no panic")
				}
			}()
			mistake()
		})
	}
	if got := h.get(token, tokenRoute); got.status != http.StatusOK { // and no lock is left behind
		t.Error(got.status)
	}
}
