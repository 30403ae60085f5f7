package source

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
)

func TestTheEndpointFollowsVersionKeyAndChoice(t *testing.T) {
	sealed, v4 := asked{token: 1, project: 1, sealed: 1}, asked{token: 1, project: 1, v4: 1}
	none := asked{token: 1, project: 1}
	for name, tc := range map[string]struct {
		version    int
		withoutKey bool
		decryption Decryption
		want       asked
		err        error
	}{
		"version 1":                      {version: 1, want: sealed},
		"version 2":                      {version: 2, want: sealed},
		"version 3":                      {version: 3, want: v4},
		"version 1, no key":              {version: 1, withoutKey: true, want: v4},
		"version 2, by the server":       {version: 2, decryption: Server, want: v4},
		"version 3, by the server":       {version: 3, decryption: Server, want: v4},
		"version 2, by the client":       {version: 2, decryption: Client, want: sealed},
		"version 3, by the client":       {version: 3, decryption: Client, want: none, err: ErrProjectVersion},
		"version 1, no key, by the same": {version: 1, withoutKey: true, decryption: Client, want: none, err: ErrClientNeedsKey},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.version, devserver.WithV4(true))
			cred := w.credential(devserver.TokenSpec{WithoutKey: tc.withoutKey})
			cred.Decryption = tc.decryption
			if tc.err != nil {
				w.Expect(w.failure(cred, time.Minute, app)).To(MatchError(tc.err))
			} else {
				w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
			}
			w.expect(tc.want)
			for _, r := range w.backend.Requests() {
				w.Expect(r.Authorization).To(Equal("Bearer " + cred.Token.Bearer()))
			}
		})
	}
}

func TestAnOlderServerIsAskedForItsNewerRouteOnce(t *testing.T) {
	w := newWorld(t, 3)
	cred := w.credential(devserver.TokenSpec{})
	first := w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, v4: 1, raw: 1})
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, v4: 1, raw: 2})
	w.Expect(w.last("/api/v3/secrets/raw").Status).To(Equal(http.StatusNotModified))
	w.Expect(w.see(cred, time.Minute, app).Snapshot).To(BeIdenticalTo(first))
}

func TestAServerWithoutTheProjectsKeyCannotDecrypt(t *testing.T) {
	w := newWorld(t, 1, devserver.WithV4(true))
	w.project = w.backend.AddStrictProject()
	w.kind(w.credential(devserver.TokenSpec{WithoutKey: true}), time.Minute, app, infisical.KindNoServerKey)
	w.expect(asked{token: 1, project: 1, v4: 1})
}

func TestASnapshotHoldsValuesImportsAndFolders(t *testing.T) {
	awkward := map[string]string{"EMPTY": "", "LINES": "\ta\r\nb\n", "EMOJI": "🔑"}
	trimmed := map[string]string{"EMPTY": "", "LINES": "a\r\nb", "EMOJI": "🔑"}
	for name, version := range map[string]int{"decrypted here": 1, "decrypted by the server": 3} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, version, devserver.WithV4(true))
			for key, value := range awkward {
				w.project.Put("dev", "/", key, value)
			}
			w.project.Put("dev", "/below/it", "DEEP", "deep")
			w.project.Tag("dev", "/below/it", "DEEP", "b", "a")
			w.project.AddImport("dev", "/", "prod", "/app")
			w.project.Put("prod", "/second", "OTHER", "second")
			w.project.AddImport("dev", "/", "prod", "/second")
			cred := w.credential(devserver.TokenSpec{})
			flat, deep := Place{Environment: "dev", Path: "/"}, Place{Environment: "dev", Path: "/", Recursive: true}

			want := awkward
			if version == 3 {
				want = trimmed
			}
			s := w.values(cred, time.Minute, flat, want)
			w.Expect(s.Place).To(Equal(flat))
			w.Expect(s.Imports).To(HaveLen(2))
			w.Expect([]string{s.Imports[0].Environment, s.Imports[0].Path, s.Imports[1].Path}).To(Equal([]string{"prod", "/app", "/second"}))
			w.Expect(valuesOf(s.Imports[0].Secrets)).To(Equal(map[string]string{"KEY": "value"}))
			w.Expect(valuesOf(s.Imports[1].Secrets)).To(Equal(map[string]string{"OTHER": "second"}))
			w.pool.Read(alice, cred, time.Minute, deep)
			w.Eventually(func() *Snapshot { return w.see(cred, time.Minute, deep).Snapshot }).ShouldNot(BeNil())
			s = w.see(cred, time.Minute, deep).Snapshot
			at := slices.IndexFunc(s.Secrets, func(s Secret) bool { return s.Name == "DEEP" })
			w.Expect(s.Secrets[at]).To(Equal(Secret{Name: "DEEP", Value: []byte("deep"), Path: "/below/it", Tags: []string{"a", "b"}}))
		})
	}
}

func TestAFolderWithImportsOnlyIsNotEmpty(t *testing.T) {
	w := newWorld(t, 1)
	root := Place{Environment: "dev", Path: "/"}
	w.project.AddImport("dev", "/", "prod", "/app")
	s := w.values(w.credential(devserver.TokenSpec{}), time.Minute, root, map[string]string{})
	w.Expect(s.Empty()).To(BeFalse())
	w.expect(asked{token: 1, project: 1, sealed: 1})
}

func TestAnEmptyFolderIsConfirmedEachTime(t *testing.T) {
	w := newWorld(t, 1)
	w.project.AddFolder("prod", "/empty")
	empty := Place{Environment: "prod", Path: "/empty"}
	cred := w.credential(devserver.TokenSpec{})
	first := w.values(cred, time.Minute, empty, map[string]string{})
	w.Expect(first.Empty()).To(BeTrue())
	w.expect(asked{token: 1, project: 1, sealed: 1, imports: 1})
	w.forgetNotes()
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 2, imports: 2})
	w.Expect(w.last(sealedPath).Status).To(Equal(http.StatusNotModified))
	w.Expect(w.notes()).To(BeEmpty())

	w.project.DeleteFolder("prod", "/empty") // which gives the same answer
	w.pass(time.Minute)
	w.Expect(w.failure(cred, time.Minute, empty)).To(Equal(&NotFoundError{Place: empty}))
	w.expect(asked{token: 2, project: 2, sealed: 3, imports: 3})
	w.Expect(w.see(cred, time.Minute, empty).Snapshot).To(BeIdenticalTo(first))
	w.forgetNotes()
	w.pass(time.Minute)
	w.expect(asked{token: 3, project: 3, sealed: 4, imports: 4})
	w.Expect(w.notes()).To(BeEmpty())

	w.project.Put("prod", "/empty", "KEY", "again")
	w.pass(time.Minute)
	w.values(cred, time.Minute, empty, map[string]string{"KEY": "again"})
	w.expect(asked{token: 3, project: 3, sealed: 5, imports: 4})
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
}

func TestAnEmptyAnswerThatCannotBeConfirmedIsNone(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	first := w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.project.Delete("prod", "/app", "KEY")
	w.backend.SetFault(devserver.Fault{Route: "/api/v1/secret-imports", Status: http.StatusBadGateway})
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 2, imports: 1})
	w.pass(time.Second)
	w.kind(cred, time.Minute, app, infisical.KindServer)
	w.Expect(w.see(cred, time.Minute, app).Snapshot).To(BeIdenticalTo(first))
	w.Expect(w.last(sealedPath).Status).To(Equal(http.StatusOK), "the ETag of what was not confirmed is not kept")
}

func TestARenamedEnvironmentIsGoneUntilItIsBack(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	first := w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	gone := &NotFoundError{Place: app, Environment: true, Environments: []string{"dev", "production", "staging"}}
	w.project.RenameEnvironment("prod", "production")
	w.pass(time.Minute)
	w.Expect(w.failure(cred, time.Minute, app)).To(Equal(gone))
	w.expect(asked{token: 2, project: 2, sealed: 2, imports: 1})
	w.Expect(w.see(cred, time.Minute, app).Snapshot).To(BeIdenticalTo(first))
	w.pass(time.Minute)
	w.expect(asked{token: 3, project: 3, sealed: 2, imports: 1}) // is it back?
	w.project.RenameEnvironment("production", "prod")
	w.pass(time.Minute)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 4, project: 4, sealed: 3, imports: 1})
}

// TestAnEnvironmentThatIsRenamedRightAfterARead: the description of the token is younger than what may be asked for anew.
func TestAnEnvironmentThatIsRenamedRightAfterARead(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.values(cred, 5*time.Second, app, map[string]string{"KEY": "value"})
	w.project.RenameEnvironment("prod", "production")
	w.pass(5 * time.Second)
	w.Expect(w.failure(cred, 5*time.Second, app)).To(Equal(&NotFoundError{Place: app, Environment: true, Environments: []string{"dev", "production", "staging"}}))
	w.expect(asked{token: 2, project: 2, sealed: 2, imports: 1})
	w.pass(5 * time.Second)
	w.expect(asked{token: 2, project: 2, sealed: 2, imports: 1}) // once it is known to be gone, not each time
}

func TestADeletedEnvironmentIsToldFromAMissingFolder(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{Scopes: append(everywhere(), everywhere()[0])})
	missing := Place{Environment: "prod", Path: "/missing"}
	w.Expect(w.failure(cred, time.Minute, missing)).To(Equal(&NotFoundError{Place: missing}))
	w.project.DeleteEnvironment("prod")
	w.pass(time.Minute)
	w.Eventually(func() error { return w.see(cred, time.Minute, missing).Err }).Should(Equal(&NotFoundError{Place: missing, Environment: true, Environments: []string{"dev", "staging"}}))
}

func TestAServerThatSaysItselfThatAFolderIsMissingIsBelieved(t *testing.T) {
	w := newWorld(t, 1)
	w.interceptWith(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != sealedPath {
			return false
		}
		rw.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(rw, `{"statusCode":404,"message":"Folder with path '/app' in environment with slug 'prod' not found","error":"NotFound"}`)
		return true
	})
	w.Expect(w.failure(w.credential(devserver.TokenSpec{}), time.Minute, app)).To(Equal(&NotFoundError{Place: app}))
}

func TestASecretThatDoesNotOpenSpoilsItsFolderButNotWhatWasRead(t *testing.T) {
	w := newWorld(t, 1)
	w.project.Put("prod", "/app", "OTHER", "fine")
	cred := w.credential(devserver.TokenSpec{})
	want := map[string]string{"KEY": "value", "OTHER": "fine"}
	first := w.values(cred, time.Minute, app, want)
	good := w.last(sealedPath)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.forgetNotes()

	w.backend.SetFault(devserver.Fault{Route: sealedPath, WrongTag: true, SecretName: "KEY"})
	w.pass(time.Minute)
	err := w.failure(cred, time.Minute, app)
	w.expect(asked{token: 2, project: 2, sealed: 2}) // the key is the same, so another answer would be too
	failed := &DecryptionError{}
	w.Expect(err).To(BeAssignableToTypeOf(failed))
	w.Expect(err.Error()).To(Equal("in prod:/app: KEY: the encrypted field does not open: it was changed, or encrypted for another key"))
	w.Expect(w.see(cred, time.Minute, app).Snapshot).To(BeIdenticalTo(first))
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
	bad := w.last(sealedPath)
	w.Expect(bad.Status).To(Equal(http.StatusOK))

	w.pass(time.Minute)
	w.expect(asked{token: 3, project: 3, sealed: 3})
	again := w.last(sealedPath)
	w.Expect(again.Status).To(Equal(http.StatusOK), "what did not open is read as a whole each time")
	w.Expect(again.IfNoneMatch).To(Equal(bad.IfNoneMatch), "the ETag of the last good answer")
	w.Expect(good.IfNoneMatch).To(BeEmpty())
	w.Expect(w.notes()).To(BeEmpty())

	w.backend.ClearFaults()
	w.pass(time.Minute)
	w.Expect(w.values(cred, time.Minute, app, want)).To(BeIdenticalTo(first))
	w.expect(asked{token: 3, project: 3, sealed: 4})
	w.Expect(w.last(sealedPath).Status).To(Equal(http.StatusNotModified))
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
}

func TestAFirstAnswerThatDoesNotOpenLeavesNoETag(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.backend.SetFault(devserver.Fault{Route: sealedPath, WrongTag: true})
	w.Expect(w.failure(cred, time.Minute, app)).To(BeAssignableToTypeOf(&DecryptionError{}))
	w.pass(time.Minute)
	w.expect(asked{token: 2, project: 2, sealed: 2})
	w.Expect(w.last(sealedPath).IfNoneMatch).To(BeEmpty())
}

func TestAFieldThatIsNotBase64NamesItsSecret(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.interceptWith(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != sealedPath {
			return false
		}
		answer := httptest.NewRecorder()
		w.backend.ServeHTTP(answer, r)
		_, _ = rw.Write(regexp.MustCompile(`("secretValueIV":)"[^"]*"`).ReplaceAll(answer.Body.Bytes(), []byte(`$1"?"`)))
		return true
	})
	err := w.failure(cred, time.Minute, app)
	w.Expect(err).To(BeAssignableToTypeOf(&DecryptionError{}))
	w.Expect(err.Error()).To(Equal("in prod:/app: KEY: the encrypted field is not padded standard base64"))
}

func TestASecretWhoseNameDoesNotOpenIsCalledByItsID(t *testing.T) {
	g := NewWithT(t)
	s, err := openSecret((&Token{}).key, infisical.SealedSecret{ID: "1234"})
	g.Expect(err).To(HaveOccurred())
	g.Expect(s).To(Equal(Secret{Name: "the secret with id 1234"}))
}

// TestANewProjectKeyIsFetchedAndEverythingReadWithIt has the server replaced by one where the same project has another key.
func TestANewProjectKeyIsFetchedAndEverythingReadWithIt(t *testing.T) {
	w := newWorld(t, 1)
	raw := w.project.AddToken(devserver.TokenSpec{Scopes: everywhere()})
	cred := w.credentialOf(raw)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.rest()

	old, successor := w.backend, devserver.New(devserver.WithClock(w.clock))
	_, err := successor.Load(devserver.Seed{
		ID: w.project.ID(), Version: 1, Tokens: []devserver.TokenSpec{{Token: raw, Scopes: everywhere()}},
		Secrets: map[string]map[string]map[string]string{"prod": {"/app": {"KEY": "sealed anew"}}},
	})
	w.Expect(err).NotTo(HaveOccurred())
	w.replace(successor)
	w.pass(time.Minute)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "sealed anew"})
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.Expect(w.last(sealedPath).IfNoneMatch).To(BeEmpty())
	w.Expect(old.Count("", "")).To(Equal(3))
	for _, r := range w.backend.Requests() {
		w.Expect(r.Status).To(Equal(http.StatusOK), r.Route)
	}
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 3})
	w.Expect(w.last(sealedPath).Status).To(Equal(http.StatusNotModified))
}

func TestALostAnswerIsNotToldAndTwoAre(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.forgetNotes()
	w.backend.SetFault(devserver.Fault{Route: sealedPath, CutBody: true, Times: 3})
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.Expect(w.see(cred, time.Minute, app).Err).NotTo(HaveOccurred())
	w.Expect(w.notes()).To(BeEmpty())
	w.pass(time.Second)
	w.kind(cred, time.Minute, app, infisical.KindNetwork)
	w.expect(asked{token: 1, project: 1, sealed: 3})
	w.pass(2 * time.Second)
	w.expect(asked{token: 1, project: 1, sealed: 4})
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
	w.pass(4 * time.Second)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, sealed: 5})
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
}

func TestSnapshotsAreEqualWhenTheirSecretsAre(t *testing.T) {
	g := NewWithT(t)
	secrets := func(value string) []Secret { return []Secret{{Name: "KEY", Value: []byte(value), Path: "/"}} }
	with := func(value, imported string) *Snapshot {
		return &Snapshot{Secrets: secrets(value), Imports: []Import{{Environment: "dev", Path: "/", Secrets: secrets(imported)}}}
	}
	s := with("a", "b")
	g.Expect(s.equal(with("a", "b"))).To(BeTrue())
	g.Expect(s.equal(with("b", "b"))).To(BeFalse())
	g.Expect(s.equal(with("a", "c"))).To(BeFalse())
	g.Expect(s.equal(&Snapshot{Secrets: secrets("a")})).To(BeFalse())
	for name, change := range map[string]func(*Snapshot){
		"name":                   func(s *Snapshot) { s.Secrets[0].Name = "X" },
		"path":                   func(s *Snapshot) { s.Secrets[0].Path = "/x" },
		"tags":                   func(s *Snapshot) { s.Secrets[0].Tags = []string{"a"} },
		"import's environment":   func(s *Snapshot) { s.Imports[0].Environment = "x" },
		"import's path":          func(s *Snapshot) { s.Imports[0].Path = "/x" },
		"another secret":         func(s *Snapshot) { s.Secrets = append(s.Secrets, s.Secrets[0]) },
		"another import":         func(s *Snapshot) { s.Imports = append(s.Imports, s.Imports[0]) },
		"another secret's order": func(s *Snapshot) { s.Secrets = append(secrets("0"), s.Secrets...) },
	} {
		other := with("a", "b")
		change(other)
		g.Expect(s.equal(other)).To(BeFalse(), name)
	}
}
