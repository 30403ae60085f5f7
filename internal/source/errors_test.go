package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

func TestErrorsTellWhereAndWhat(t *testing.T) {
	names := []string{"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"}
	for want, err := range map[string]error{
		"prod:/app is outside the token's scopes: dev:/db, dev:/x/*":     &ScopeError{Place: app, Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db"}, {Environment: "dev", Path: "/x/*"}}},
		`the project has no environment "prod"; it has: dev, production`: &NotFoundError{Place: app, Environment: true, Environments: []string{"dev", "production"}},
		`the project has no environment "prod"; it has: dev`: &NotFoundError{
			Place: app, Environment: true, Environments: []string{"dev", "two\nlines", strings.Repeat("x", 65)},
		},
		`the project has no environment "prod"; it has: none`: &NotFoundError{Place: app, Environment: true},
		`environment "prod" has no folder "/app"`:             &NotFoundError{Place: app},
		"in prod:/app: A, B: damaged":                         &DecryptionError{Place: app, Names: names[:2], Err: errors.New("damaged")},
		"in prod:/app: A, B, C, D, E, F, G, H, I, J: damaged": &DecryptionError{Place: app, Names: names[:10], Err: errors.New("damaged")},
		"in prod:/app: A, B, C, D, E, F, G, H, I, J, and 2 more: damaged": &DecryptionError{
			Place: app, Names: names, Err: errors.New("damaged"),
		},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if names[10] != "K" {
		t.Error("the names of the error were changed by printing it")
	}
}

func TestTheSlowerIsLookedAgainTheLessItHealsByItself(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want pace
	}{
		"network":          {&infisical.Error{Kind: infisical.KindNetwork}, paceRetry},
		"server":           {&infisical.Error{Kind: infisical.KindServer}, paceRetry},
		"rate limit":       {fmt.Errorf("asking: %w", &infisical.Error{Kind: infisical.KindRateLimited}), paceRetry},
		"uncounted use":    {errors.New("counting the use of the token: conflict"), paceRetry},
		"missing":          {&NotFoundError{}, paceInterval},
		"damaged":          {&DecryptionError{}, paceInterval},
		"out of scope":     {&ScopeError{}, paceSlow},
		"rejected":         {&infisical.Error{Kind: infisical.KindTokenRejected}, paceSlow},
		"no permission":    {ErrNoRead, paceSlow},
		"version 3":        {ErrProjectVersion, paceSlow},
		"no key":           {ErrClientNeedsKey, paceSlow},
		"key of another's": {fmt.Errorf("%w: %w", ErrProjectKey, servicetoken.ErrNonce), paceSlow},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(paceOf(tc.err)).To(Equal(tc.want))
			g.Expect(Transient(tc.err)).To(Equal(tc.want == paceRetry))
		})
	}
	if Transient(nil) {
		t.Error("success is no failure")
	}
}

// TestNoErrorTellsASecret provokes each failure that a reader can see, and looks for the token's secret and key, the
// project's key, and the value in everything that it can be turned into.
func TestNoErrorTellsASecret(t *testing.T) {
	const value, imported = "TOPSECRET-of-its-own", "TOPSECRET-imported"
	for name, tc := range map[string]struct {
		version    int
		spec       devserver.TokenSpec
		decryption Decryption
		raw        func(string) string
		fault      devserver.Fault
		place      Place
		transient  bool
	}{
		"rejected": {raw: func(raw string) string {
			return strings.Replace(raw, raw[len(raw)-65:len(raw)-33], strings.Repeat("0", 32), 1)
		}},
		"unknown":                  {raw: func(raw string) string { return "st." + strings.Repeat("0", 24) + raw[len(raw)-66:] }},
		"key does not open":        {raw: func(raw string) string { return withKey(raw, strings.Repeat("0", 32)) }},
		"version":                  {version: 3, decryption: Client},
		"no key":                   {spec: devserver.TokenSpec{WithoutKey: true}, decryption: Client},
		"no permission":            {spec: devserver.TokenSpec{Permissions: []string{"write"}}},
		"out of scope":             {spec: devserver.TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/"}}}},
		"no such environment":      {spec: devserver.TokenSpec{Scopes: servicetoken.Scopes{{Environment: "qa", Path: "/**"}}}, place: Place{Environment: "qa", Path: "/"}},
		"no such folder":           {place: Place{Environment: "prod", Path: "/none"}},
		"wrong tag":                {fault: devserver.Fault{Route: sealedPath, WrongTag: true}},
		"corrupt":                  {fault: devserver.Fault{Route: sealedPath, CorruptBody: true}, transient: true},
		"corrupt, in clear text":   {version: 3, fault: devserver.Fault{Route: "/api/v4/secrets", CorruptBody: true}, transient: true},
		"cut, in clear text":       {version: 3, fault: devserver.Fault{Route: "/api/v4/secrets", CutBody: true}, transient: true},
		"corrupt description":      {fault: devserver.Fault{Route: tokenPath, CorruptBody: true}, transient: true},
		"corrupt project":          {fault: devserver.Fault{Route: "/api/v1/workspace", CorruptBody: true}, transient: true},
		"unauthorized":             {fault: devserver.Fault{Route: sealedPath, Status: http.StatusUnauthorized}},
		"forbidden":                {fault: devserver.Fault{Route: sealedPath, Status: http.StatusForbidden}},
		"no such route":            {fault: devserver.Fault{Route: sealedPath, Status: http.StatusNotFound}, transient: true},
		"rate limit":               {fault: devserver.Fault{Route: sealedPath, Status: http.StatusTooManyRequests}, transient: true},
		"server":                   {fault: devserver.Fault{Route: sealedPath, Status: http.StatusInternalServerError}, transient: true},
		"empty and not confirmed":  {fault: devserver.Fault{Route: "/api/v1/secret-imports", Status: http.StatusForbidden}, place: Place{Environment: "prod", Path: "/none"}},
		"server, before the token": {fault: devserver.Fault{Status: http.StatusBadGateway}, transient: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, max(tc.version, 1), devserver.WithV4(true))
			w.project.Put("prod", "/app", "KEY", value)
			w.project.Put("dev", "/", "IMPORTED", imported)
			w.project.AddImport("prod", "/app", "dev", "/")
			if tc.spec.Scopes == nil {
				tc.spec.Scopes = everywhere()
			}
			raw := w.project.AddToken(tc.spec)
			forbidden := []string{w.project.Key(), "TOPSECRET", "Bearer"}
			forbidden = append(forbidden, strings.Split(raw, ".")[2:]...)
			if tc.raw != nil {
				raw = tc.raw(raw)
				forbidden = append(forbidden, strings.Split(raw, ".")[2:]...)
			}
			if tc.fault != (devserver.Fault{}) {
				w.backend.SetFault(tc.fault)
			}
			if tc.place == (Place{}) {
				tc.place = app
			}
			cred := w.credentialOf(raw)
			cred.Decryption = tc.decryption
			errs := []error{w.failure(cred, time.Minute, tc.place), w.pool.Read(alice, cred, time.Minute).TokenErr}
			w.Expect(Transient(errs[0])).To(Equal(tc.transient), errs[0].Error())
			for _, err := range errs {
				for _, text := range textsOf(err) {
					for _, f := range forbidden {
						w.Expect(strings.ToLower(text)).NotTo(ContainSubstring(strings.ToLower(f)))
					}
				}
			}
			w.Expect(fmt.Sprintf("%v %+v %#v", cred, Key{Credential: cred, Place: tc.place}, cred)).NotTo(ContainSubstring(strings.Split(raw, ".")[2]))
		})
	}
}

// textsOf is everything that printing an error, or what it wraps, can show.
func textsOf(err error) []string {
	if err == nil {
		return nil
	}
	marshaled, _ := json.Marshal(err)
	texts := []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), string(marshaled)}
	switch e := err.(type) { //nolint:errorlint // each of the chain is looked at
	case interface{ Unwrap() error }:
		texts = append(texts, textsOf(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, wrapped := range e.Unwrap() {
			texts = append(texts, textsOf(wrapped)...)
		}
	}
	return texts
}

func TestAPlaceIsOneTextInALog(t *testing.T) {
	text, err := json.Marshal(map[string]any{"sources": []Place{{Environment: "prod", Path: "/shop"}}})
	if err != nil || string(text) != `{"sources":["prod:/shop"]}` {
		t.Errorf("%s, %v", text, err)
	}
}
