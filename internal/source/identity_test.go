package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
)

// account is a ServiceAccount by its name, as the controllers have one.
type account struct {
	*jwts
	namespace, name string
}

func TestIdentitiesAreEqualWhenTheirPartsAre(t *testing.T) {
	g := NewWithT(t)
	universal := func(parts ...string) Identity {
		i, err := NewUniversalAuth(parts[0], parts[1], parts[2])
		g.Expect(err).NotTo(HaveOccurred())
		return i
	}
	kubernetes := func(id string, from JWTSource, project string) Identity {
		i, err := NewKubernetesAuth(id, from, project)
		g.Expect(err).NotTo(HaveOccurred())
		return i
	}
	shared := &jwts{}
	one := universal("id", "secret", "project")
	g.Expect(universal("id\n", " secret\n", "project ")).To(Equal(one))
	other := kubernetes("id", account{shared, "ns", "a"}, "project")
	g.Expect(kubernetes(" id", account{shared, "ns", "a"}, "project")).To(Equal(other))
	all := map[Identity]string{{}: "none", one: "one"}
	for _, i := range []Identity{
		universal("id2", "secret", "project"), universal("id", "secret2", "project"), universal("id", "secret", "project2"), other,
		kubernetes("id", account{shared, "ns", "b"}, "project"), kubernetes("id", account{shared, "ns2", "a"}, "project"),
		kubernetes("id", account{&jwts{}, "ns", "a"}, "project"),
	} {
		all[i] = "another"
	}
	g.Expect(all).To(HaveLen(9))
	g.Expect(one.IsZero()).To(BeFalse())
	g.Expect(Identity{}.IsZero()).To(BeTrue())
	g.Expect(one.Method()).To(Equal(UniversalAuth))
	g.Expect(other.Method()).To(Equal(KubernetesAuth))
	g.Expect(Identity{}.ID()).To(BeEmpty())
}

func TestAnIdentityWithoutAPartIsRefused(t *testing.T) {
	g := NewWithT(t)
	for _, parts := range [][3]string{{"", "secret", "project"}, {"id", " \n", "project"}, {"id", "secret", " "}} {
		i, err := NewUniversalAuth(parts[0], parts[1], parts[2])
		g.Expect(err).To(Equal(ErrIdentityIncomplete))
		g.Expect(i.IsZero()).To(BeTrue())
	}
	_, err := NewKubernetesAuth("id", nil, "project")
	g.Expect(err).To(Equal(ErrIdentityIncomplete))
}

func TestAProjectIsNamedByItsIDOrItsSlug(t *testing.T) {
	for project, isID := range map[string]bool{
		"9a05ba10-be1c-442d-b05d-9864b0ff3f38": true, "9A05BA10-BE1C-442D-B05D-9864B0FF3F38": true, "64b0ff3f389a05ba10be1c44": true,
		"shop": false, "kms-v3": false, "9a05ba10-be1c": false, "64b0ff3f389a05ba10be1c4": false,
	} {
		i, err := NewUniversalAuth("id", "secret", project)
		if err != nil {
			t.Fatal(err)
		}
		id, slug := i.project()
		if isID && (id != project || slug != "") || !isID && (id != "" || slug != project) {
			t.Errorf("%s: id %q, slug %q", project, id, slug)
		}
	}
}

func TestAnIdentityPrintsItsIDAndNeverItsSecret(t *testing.T) {
	g := NewWithT(t)
	i, err := NewUniversalAuth("id-word", "secret-word", "project")
	g.Expect(err).NotTo(HaveOccurred())
	marshaled, err := json.Marshal(map[string]any{"value": i, "key": map[Identity]int{i: 1}})
	g.Expect(err).NotTo(HaveOccurred())
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "identity", i, "in", Credential{Identity: i})
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", i, i, i, i, i, i, i), fmt.Sprintf("%v %+v %#v", Credential{Identity: i}, &i, Key{}), string(marshaled), log.String(),
	} {
		g.Expect(text).To(ContainSubstring("universal:id-word:***"))
		g.Expect(text).NotTo(Or(ContainSubstring("secret-word"), ContainSubstring(fmt.Sprintf("%x", "secret-word"))))
	}
	g.Expect(fmt.Sprint(Identity{})).To(Equal("::***"))
}

func TestAnIdentityReadsWhatTheServerDecrypts(t *testing.T) {
	for name, tc := range map[string]struct {
		version    int
		v4, slug   bool
		decryption Decryption
		want       asked
	}{
		"by id":                 {1, true, false, Auto, asked{login: 1, project: 1, v4: 1}},
		"by id, version 3":      {3, true, false, Auto, asked{login: 1, project: 1, v4: 1}},
		"by id, Server":         {2, true, false, Server, asked{login: 1, project: 1, v4: 1}},
		"by id, older server":   {3, false, false, Auto, asked{login: 1, project: 1, v4: 1, raw: 1}},
		"by slug":               {3, true, true, Auto, asked{login: 1, slug: 1, v4: 1}},
		"by slug, older server": {1, false, true, Auto, asked{login: 1, slug: 1, v4: 1, raw: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.version, devserver.WithV4(tc.v4))
			made := w.project.AddIdentity(devserver.IdentitySpec{})
			project := w.project.ID()
			if tc.slug {
				project = w.project.Slug()
			}
			cred := w.identityOf(made.ClientID, made.ClientSecret, project)
			cred.Decryption = tc.decryption
			w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
			if !tc.v4 {
				w.Expect(w.backend.Count("/api/v4/secrets", "")).To(Equal(1))
				tc.want.v4 = 1
			}
			w.expect(tc.want)
			token := w.pool.Read(alice, cred, time.Minute, app).Token
			w.Expect(token.ID).To(Equal(made.ClientID))
			w.Expect(cred.ID()).To(Equal(made.ClientID))
			w.Expect(token.Identity).To(BeTrue())
			w.Expect(token.ExpiresAt).To(BeNil())
			w.Expect(token.Scopes).To(BeNil())
			w.Expect(token.ProjectVersion).To(Equal(tc.version))
			w.Expect(w.pool.Modified(w.project.ID(), "prod", "/app")).To(Equal(1), "the id is known, by whichever name")
		})
	}
}

func TestAServerThatDoesNotDescribeTheProjectIsReadAllTheSame(t *testing.T) {
	nothing := Place{Environment: "prod", Path: "/none"}
	for name, tc := range map[string]struct {
		status int
		slug   bool
		want   asked
		empty  error
	}{
		"forbidden":          {http.StatusForbidden, false, asked{login: 1, project: 1, v4: 2, imports: 1}, &NotFoundError{Place: nothing}},
		"no such route":      {http.StatusNotFound, false, asked{login: 1, project: 1, v4: 2, imports: 1}, &NotFoundError{Place: nothing}},
		"slug not resolved":  {http.StatusNotFound, true, asked{login: 1, slug: 1, raw: 2}, ErrUnconfirmed},
		"slug not permitted": {http.StatusForbidden, true, asked{login: 1, slug: 1, raw: 2}, ErrUnconfirmed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, devserver.WithV4(true))
			made := w.project.AddIdentity(devserver.IdentitySpec{})
			w.backend.SetFault(devserver.Fault{Route: projectPath, Status: tc.status})
			w.backend.SetFault(devserver.Fault{Route: "/api/v2/workspace", Status: tc.status})
			project := w.project.ID()
			if tc.slug {
				project = w.project.Slug()
			}
			cred := w.identityOf(made.ClientID, made.ClientSecret, project)
			w.values(cred, day, app, map[string]string{"KEY": "value"})
			w.Expect(w.failure(cred, day, nothing)).To(Equal(tc.empty))
			w.expect(tc.want)
			w.Expect(w.pool.Read(alice, cred, day, app).Token.ProjectVersion).To(BeZero())
		})
	}
}

func TestAProjectThatWasDescribedStaysSoWhileItIsNot(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, _ := w.identity(devserver.IdentitySpec{})
	w.values(cred, day, app, map[string]string{"KEY": "value"})
	w.forgetNotes()
	w.backend.SetFault(devserver.Fault{Route: projectPath, Status: http.StatusNotFound})
	w.pass(time.Hour)
	w.expect(asked{login: 1, project: 2, v4: 1})
	w.Expect(w.notes()).To(BeEmpty())
}

func TestWhatIsWrongWithAnIdentityIsToldByKind(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	_, made := w.identity(devserver.IdentitySpec{})
	other := w.backend.AddProject(3)
	const nobody, nowhere = "11111111-2222-4333-8444-555555555555", "00000000-0000-4000-8000-000000000000"
	for name, tc := range map[string]struct {
		clientID, secret, project string
		want                      infisical.Kind
	}{
		"unknown client":     {nobody, made.ClientSecret, w.project.ID(), infisical.KindIdentityNotFound},
		"wrong secret":       {made.ClientID, "nope", w.project.ID(), infisical.KindIdentityRejected},
		"no such project":    {made.ClientID, made.ClientSecret, nowhere, infisical.KindProjectNotFound},
		"no such slug":       {made.ClientID, made.ClientSecret, "nowhere", infisical.KindProjectNotFound},
		"another's project":  {made.ClientID, made.ClientSecret, other.ID(), infisical.KindPermissionDenied},
		"another's, by slug": {made.ClientID, made.ClientSecret, other.Slug(), infisical.KindPermissionDenied},
	} {
		cred := w.identityOf(tc.clientID, tc.secret, tc.project)
		w.kind(cred, time.Minute, app, tc.want)
		w.Expect(Transient(w.see(cred, time.Minute, app).Err)).To(BeFalse(), name)
	}
	cred, _ := w.identity(devserver.IdentitySpec{})
	cred.Decryption = Client
	err := w.failure(cred, time.Minute, app)
	w.Expect(err).To(MatchError(ErrIdentityClient))
	w.Expect(Transient(err)).To(BeFalse())
	cred.Decryption = Auto
	w.Expect(w.failure(cred, time.Minute, Place{Environment: "qa", Path: "/"})).To(Equal(&NotFoundError{Place: Place{Environment: "qa", Path: "/"}, Environment: true, Environments: []string{"dev", "prod", "staging"}}))
	w.Expect(w.failure(cred, time.Minute, Place{Environment: "prod", Path: "/no"})).To(Equal(&NotFoundError{Place: Place{Environment: "prod", Path: "/no"}}))
}

// jwts is the ServiceAccount of a test.
type jwts struct {
	asked atomic.Int64
	text  atomic.Pointer[string]
}

var errNoAccount = errors.New("there is no ServiceAccount")

func (j *jwts) JWT(context.Context) (string, error) {
	j.asked.Add(1)
	if text := j.text.Load(); text != nil {
		return *text, nil
	}
	return "", errNoAccount
}

func TestKubernetesAuthLogsInWithANewJWTEachTime(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	var latest atomic.Pointer[string]
	made := w.project.AddIdentity(devserver.IdentitySpec{TTL: time.Minute, Accepts: func(jwt string) bool { return jwt == *latest.Load() }})
	account := &jwts{}
	identity, err := NewKubernetesAuth(made.ID, account, w.project.ID())
	w.Expect(err).NotTo(HaveOccurred())
	cred := Credential{Server: w.server, Identity: identity}

	err = w.failure(cred, 30*time.Second, app)
	w.Expect(err).To(MatchError(errNoAccount))
	w.Expect(is[*JWTError](err)).To(BeTrue())
	w.Expect(Transient(err)).To(BeTrue())
	w.expect(asked{})
	for i := range 5 {
		jwt := fmt.Sprintf("JWT-%d", i)
		latest.Store(&jwt)
		account.text.Store(&jwt)
		w.pass(time.Minute)
		w.rest()
		w.values(cred, 30*time.Second, app, map[string]string{"KEY": "value"})
	}
	w.rest()
	w.Expect(w.asked().login).To(BeNumerically(">=", 5))
	w.Expect(account.asked.Load()).To(BeEquivalentTo(w.asked().login + 1))
	w.Expect(w.refusals()).To(BeZero())
	w.Expect(w.pool.Read(alice, cred, time.Minute).Token.ID).To(Equal(made.ID))
	wrong := "JWT-wrong"
	account.text.Store(&wrong)
	for range 3 {
		w.pass(time.Minute)
	}
	w.kind(cred, 30*time.Second, app, infisical.KindIdentityRejected)
	w.Expect(fmt.Sprintf("%+v", w.see(cred, 30*time.Second, app).Err)).NotTo(ContainSubstring("JWT-"))
}

// TestNoErrorOfAnIdentityTellsASecret provokes failures on the way to its data, by a server that repeats what it gets.
func TestNoErrorOfAnIdentityTellsASecret(t *testing.T) {
	for _, path := range []string{universalPath, projectPath, v4Path} {
		for _, status := range []int{200, 302, 400, 401, 403, 404, 422, 429, 500} {
			w := newWorld(t, 3, devserver.WithV4(true))
			cred, made := w.identity(devserver.IdentitySpec{})
			w.interceptWith(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, path) {
					return false
				}
				rw.Header().Set("Location", "https://"+made.ClientSecret+".test/")
				rw.WriteHeader(status)
				_, _ = fmt.Fprintf(rw, `{"message":%q,"error":%q,"accessToken":7}`, made.ClientSecret+r.Header.Get("Authorization"), made.ClientSecret)
				return true
			})
			if path == projectPath && (status == http.StatusForbidden || status == http.StatusNotFound) {
				continue // no failure
			}
			err := w.failure(cred, time.Minute, app)
			bearer := strings.TrimPrefix(w.lastAuthorization(), "Bearer ")
			for _, text := range append(textsOf(err), fmt.Sprintf("%v %+v %#v", cred, Key{Credential: cred, Place: app}, cred)) {
				w.Expect(text).NotTo(ContainSubstring(made.ClientSecret))
				if bearer != "" {
					w.Expect(text).NotTo(ContainSubstring(bearer))
				}
			}
		}
	}
}

// lastAuthorization is that of the latest request that had one.
func (w *world) lastAuthorization() string {
	requests := w.backend.Requests()
	for i := len(requests) - 1; i >= 0; i-- {
		if requests[i].Authorization != "" {
			return requests[i].Authorization
		}
	}
	return ""
}
