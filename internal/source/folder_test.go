package source

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

var (
	readWrite = []string{"read", "write"}
	writeOnly = []string{"write"}
)

// nobody is a name that nothing has in any test.
const nobody = "NOBODY"

// described waits until alice knows her token.
func (w *world) described(cred Credential) *Token {
	w.t.Helper()
	w.Eventually(func() *Token { return w.pool.Read(alice, cred, day).Token }).ShouldNot(BeNil())
	return w.pool.Read(alice, cred, day).Token
}

// folder is a place of which nothing is known yet.
func (w *world) folder(cred Credential, place Place) *Folder {
	w.t.Helper()
	f, err := w.pool.Folder(cred, w.described(cred), place)
	w.Expect(err).NotTo(HaveOccurred())
	return f
}

// writer makes a token that may read and write, and its folder prod:/app.
func (w *world) writer(spec devserver.TokenSpec) *Folder {
	w.t.Helper()
	if spec.Permissions == nil {
		spec.Permissions = readWrite
	}
	return w.folder(w.credential(spec), app)
}

// there is what the server has at prod:/app.
func (w *world) there() map[string]string {
	values := map[string]string{}
	for name, secret := range w.project.Secrets("prod", "/app") {
		values[name] = secret.Value
	}
	return values
}

// comment is what the server has at prod:/app beside the value of KEY.
func (w *world) comment() string { return w.project.Secrets("prod", "/app")["KEY"].Comment }

// remark gives KEY a comment, as a person does in the web interface.
func (w *world) remark(comment string) {
	w.t.Helper()
	token := w.project.AddToken(devserver.TokenSpec{Scopes: everywhere(), Permissions: readWrite})
	body := `{"workspaceId":"` + w.project.ID() + `","environment":"prod","secretPath":"/app","secretValue":"value","secretComment":"` + comment + `"}`
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPatch, "/api/v3/secrets/raw/KEY", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token[:strings.LastIndexByte(token, '.')])
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.backend.ServeHTTP(answer, r)
	w.Expect(answer.Code).To(Equal(http.StatusOK), answer.Body.String())
	w.Expect(w.comment()).To(Equal(comment))
}

func TestWhatIsEncryptedHereIsKeptByteForByte(t *testing.T) {
	values := map[string]string{
		"CRLF": "a\r\nb\r\n", "SPACES": "  \t x ", "LARGE": strings.Repeat("0123456789abcde\n", 60<<10/16), "EMPTY": "", "EMOJI": "🔑\ufeff", "ZERO": "\x00",
		"a.b-c_D": "${OTHER}",
	}
	for version, tc := range map[int]devserver.TokenSpec{
		1: {},
		2: {Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/app"}}},
	} {
		w := newWorld(t, version)
		f := w.writer(tc)
		w.Expect(f.ProjectID()).To(Equal(w.project.ID()))
		w.Expect(f.Trims()).To(BeFalse())
		w.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			if err != nil || strings.Contains(string(body), "0123456789") || strings.Contains(r.URL.Path, "raw") {
				t.Errorf("%s %s tells a value", r.Method, r.URL)
			}
			return false
		})
		w.Expect(f.Reread(t.Context())).To(Succeed())
		want := map[string]string{"KEY": "value"}
		for name, value := range values {
			w.Expect(f.State(name, []byte(value))).To(Equal(Absent), name)
			w.Expect(f.Create(t.Context(), name, []byte(value))).To(Succeed(), name)
			w.Expect(f.Trimmed([]byte(value))).To(BeEquivalentTo(value))
			want[name] = value
		}
		w.Expect(w.there()).To(Equal(want))
		for _, read := range []func(){func() {}, func() { w.Expect(f.Reread(t.Context())).To(Succeed()) }} {
			read()
			for name, value := range values {
				w.Expect(f.State(name, []byte(value))).To(Equal(Same), name)
				w.Expect(f.State(name, []byte(value+" "))).To(Equal(Differs), name)
			}
		}
		w.Expect(f.Update(t.Context(), "KEY", []byte(" \r\n"))).To(Succeed())
		w.Expect(f.Update(t.Context(), "LARGE", nil)).To(Succeed())
		w.Expect(f.Delete(t.Context(), "CRLF")).To(Succeed())
		want["KEY"], want["LARGE"] = " \r\n", ""
		delete(want, "CRLF")
		w.Expect(w.there()).To(Equal(want))
		for range 2 {
			w.Expect(f.State("KEY", []byte(" \r\n"))).To(Equal(Same))
			w.Expect(f.State("LARGE", []byte{})).To(Equal(Same))
			w.Expect(f.State("CRLF", []byte(values["CRLF"]))).To(Equal(Absent))
			w.Expect(f.Reread(t.Context())).To(Succeed())
		}
		w.project.Delete("prod", "/app", "ZERO") // which the others who read it see, too
		delete(want, "ZERO")
		w.values(f.cred, time.Minute, app, want)
	}
}

func TestWhatTheServerEncryptsIsKeptWithoutWhiteSpaceAroundIt(t *testing.T) {
	for name, tc := range map[string]struct {
		version    int
		v4         bool
		spec       devserver.TokenSpec
		decryption Decryption
	}{
		"version 3":                {version: 3},
		"version 3, newer server":  {version: 3, v4: true},
		"version 3, one folder":    {version: 3, spec: devserver.TokenSpec{Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/app"}}}},
		"version 1, no key":        {version: 1, spec: devserver.TokenSpec{WithoutKey: true}},
		"version 2, by the server": {version: 2, v4: true, decryption: Server},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.version, devserver.WithV4(tc.v4))
			tc.spec.Permissions = readWrite
			if tc.spec.Scopes == nil {
				tc.spec.Scopes = everywhere()
			}
			cred := w.credential(tc.spec)
			cred.Decryption = tc.decryption
			f := w.folder(cred, app)
			w.Expect(f.Trims()).To(BeTrue())
			w.Expect(f.Reread(t.Context())).To(Succeed())
			w.Expect(f.State("KEY", []byte("\ufeff value\r\n"))).To(Equal(Same))
			w.Expect(f.State("KEY", []byte("val ue"))).To(Equal(Differs))
			large := strings.Repeat("0123456789abcde\n", 60<<10/16)
			for name, value := range map[string]string{"SPACES": "  \t x\r\ny \n", "LARGE": large, "EMPTY": "", "BLANK": " \n", "EMOJI": "🔑\u0085"} {
				w.Expect(f.Create(t.Context(), name, []byte(value))).To(Succeed(), name)
				w.Expect(f.State(name, []byte(value))).To(Equal(Same), name)
			}
			want := map[string]string{"KEY": "value", "SPACES": "x\r\ny", "LARGE": strings.TrimSpace(large), "EMPTY": "", "BLANK": "", "EMOJI": "🔑\u0085"}
			w.Expect(w.there()).To(Equal(want))
			w.Expect(f.Trimmed([]byte("  \t x\r\ny \n"))).To(BeEquivalentTo(want["SPACES"]))
			for range 2 {
				w.Expect(f.State("SPACES", []byte("x\r\ny\n"))).To(Equal(Same))
				w.Expect(f.State("SPACES", []byte("x\ny"))).To(Equal(Differs))
				w.Expect(f.State("BLANK", nil)).To(Equal(Same))
				w.Expect(f.State("LARGE", []byte(large))).To(Equal(Same))
				w.Expect(f.Reread(t.Context())).To(Succeed())
			}
			w.Expect(f.Update(t.Context(), "KEY", []byte(" other "))).To(Succeed())
			w.Expect(f.Delete(t.Context(), "LARGE")).To(Succeed())
			want["KEY"] = "other"
			delete(want, "LARGE")
			w.Expect(w.there()).To(Equal(want))
			for range 2 {
				w.Expect(f.State("KEY", []byte("other"))).To(Equal(Same))
				w.Expect(f.State("LARGE", nil)).To(Equal(Absent))
				w.Expect(f.Reread(t.Context())).To(Succeed())
			}
			w.Expect(w.backend.Count("/api/v3/secrets/:secretName", "")).To(BeZero())
		})
	}
}

func TestAnUpdateLeavesTheCommentOfAPersonAsItIs(t *testing.T) {
	learn := map[string]func(*world, *Folder){
		"read anew":      func(w *world, f *Folder) { w.Expect(f.Reread(w.t.Context())).To(Succeed()) },
		"read by a poll": func(w *world, f *Folder) { f.Holds(w.values(f.cred, day, app, map[string]string{"KEY": "value"})) },
		"not known":      func(*world, *Folder) {},
		"written by us":  func(w *world, f *Folder) { w.Expect(f.Update(w.t.Context(), "KEY", []byte("value"))).To(Succeed()) },
	}
	for _, version := range []int{1, 3} {
		for name, learn := range learn {
			w := newWorld(t, version)
			w.remark("rotate by hand")
			f := w.writer(devserver.TokenSpec{})
			learn(w, f)
			for _, value := range []string{"other", "another"} {
				w.Expect(f.Update(t.Context(), "KEY", []byte(value))).To(Succeed())
				w.Expect(w.there()).To(Equal(map[string]string{"KEY": value}))
				w.Expect(w.comment()).To(Equal("rotate by hand"), "version %d, %s", version, name)
			}
			w.remark("") // what nobody says any more is not brought back
			w.Expect(f.Reread(t.Context())).To(Succeed())
			w.Expect(f.Update(t.Context(), "KEY", []byte("last"))).To(Succeed())
			w.Expect(w.comment()).To(BeEmpty())
		}
	}
}

// TestAKnownCommentIsSentAlong as other clients do, whose updates are the recorded ones.
func TestAKnownCommentIsSentAlong(t *testing.T) {
	w := newWorld(t, 1)
	w.remark("rotate by hand")
	f := w.writer(devserver.TokenSpec{})
	var sent map[string]string
	w.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		sent = map[string]string{}
		if len(body) > 0 {
			err = errors.Join(err, json.Unmarshal(body, &sent))
		}
		if err != nil {
			t.Error(err)
		}
		return false
	})
	says := func(want string) {
		t.Helper()
		var parts [3][]byte
		for i, part := range []string{"Ciphertext", "IV", "Tag"} {
			var err error
			parts[i], err = base64.StdEncoding.DecodeString(sent["secretComment"+part])
			w.Expect(err).NotTo(HaveOccurred())
		}
		comment, err := f.token.key.Open(servicetoken.NewSealed(parts[0], parts[1], parts[2]))
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(comment).To(BeEquivalentTo(want))
	}
	w.Expect(f.Update(t.Context(), "KEY", []byte("1"))).To(Succeed())
	w.Expect(sent).To(And(HaveKey("secretValueIV"), Not(HaveKey("secretCommentIV"))), "it is not known")
	w.Expect(f.Create(t.Context(), "NEW", []byte("1"))).To(Succeed())
	says("")
	w.Expect(f.Reread(t.Context())).To(Succeed())
	for range 2 {
		w.Expect(f.Update(t.Context(), "KEY", []byte("2"))).To(Succeed())
		says("rotate by hand")
		w.Expect(f.Update(t.Context(), "NEW", []byte("2"))).To(Succeed())
		says("")
	}
}

func TestRereadSeesWhatSomebodyElseDid(t *testing.T) {
	for _, version := range []int{1, 3} {
		w := newWorld(t, version)
		f := w.writer(devserver.TokenSpec{})
		w.Expect(f.State("KEY", []byte("value"))).To(Equal(Absent), "nothing is known yet")
		f.Holds(w.values(f.cred, day, app, map[string]string{"KEY": "value"}))
		w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same))
		w.project.Put("prod", "/app", "KEY", "changed")
		w.project.Put("prod", "/app", "NEW", "1")
		w.project.Put("prod", "/app/below", nobody, "1")
		w.project.Put("prod", "/", nobody, "1")
		w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same), "of which this does not know")
		w.Expect(f.Reread(t.Context())).To(Succeed())
		w.Expect(f.State("KEY", []byte("value"))).To(Equal(Differs))
		w.Expect(f.State("KEY", []byte("changed"))).To(Equal(Same))
		w.Expect(f.State("NEW", nil)).To(Equal(Differs))
		w.Expect(f.State(nobody, []byte("1"))).To(Equal(Absent))
		w.project.Delete("prod", "/app", "KEY")
		w.project.Delete("prod", "/app", "NEW")
		w.Expect(f.Reread(t.Context())).To(Succeed(), "an empty folder is one")
		w.Expect(f.State("KEY", []byte("changed"))).To(Equal(Absent))
		w.Expect(f.State("NEW", []byte("1"))).To(Equal(Absent))
		w.Expect(f.Create(t.Context(), "KEY", []byte("again"))).To(Succeed())
		w.Expect(w.there()).To(Equal(map[string]string{"KEY": "again"}))
	}
}

func TestWhatAFolderImportsIsNotInIt(t *testing.T) {
	for _, version := range []int{1, 3} {
		w := newWorld(t, version)
		w.project.Put("dev", "/shared", "KEY", "imported")
		w.project.AddImport("prod", "/empty", "dev", "/shared")
		place := Place{Environment: "prod", Path: "/empty"}
		f := w.folder(w.credential(devserver.TokenSpec{Permissions: readWrite}), place)
		w.Expect(f.Reread(t.Context())).To(Succeed())
		w.Expect(f.State("KEY", []byte("imported"))).To(Equal(Absent))
		f.Holds(w.values(f.cred, day, place, map[string]string{}))
		w.Expect(f.State("KEY", []byte("imported"))).To(Equal(Absent))
		w.Expect(f.Create(t.Context(), "KEY", []byte("own"))).To(Succeed())
		w.Expect(w.project.Secrets("prod", "/empty")["KEY"].Value).To(Equal("own"))
		w.Expect(w.project.Secrets("dev", "/shared")["KEY"].Value).To(Equal("imported"))
	}
}

func TestAMissingFolderIsToldWhateverIsToBeDoneThere(t *testing.T) {
	for _, version := range []int{1, 3} {
		for _, v4 := range []bool{false, true} {
			w := newWorld(t, version, devserver.WithV4(v4))
			cred := w.credential(devserver.TokenSpec{Permissions: readWrite})
			none := Place{Environment: "prod", Path: "/none"}
			f := w.folder(cred, none)
			missing := MatchError(&NotFoundError{Place: none})
			w.Expect(f.Reread(t.Context())).To(missing)
			w.Expect(f.Create(t.Context(), "KEY", []byte("value"))).To(missing)
			w.Expect(f.Update(t.Context(), "KEY", []byte("value"))).To(missing)
			w.Expect(f.Delete(t.Context(), "KEY")).To(missing)
			w.Expect(f.State("KEY", []byte("value"))).To(Equal(Absent))

			f = w.folder(cred, app)
			w.Expect(f.Reread(t.Context())).To(Succeed())
			w.project.DeleteEnvironment("prod") // after the token was described
			w.Expect(f.Reread(t.Context())).To(MatchError(&NotFoundError{Place: app}))
			w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same), "what is known stays where nothing is learned")
			w.Expect(f.Create(t.Context(), "NEW", nil)).To(MatchError(&NotFoundError{Place: app}))
		}
	}
}

func TestAFolderIsRefusedBeforeAnythingIsAsked(t *testing.T) {
	nowhere, elsewhere := Place{Environment: "qa", Path: "/"}, Place{Environment: "dev", Path: "/db"}
	ofProd := servicetoken.Scopes{{Environment: "prod", Path: "/**"}}
	for name, tc := range map[string]struct {
		version    int
		spec       devserver.TokenSpec
		otherKey   bool
		identity   bool
		decryption Decryption
		place      Place
		want       error
	}{
		"no permission":           {spec: devserver.TokenSpec{Permissions: []string{"read"}}, want: ErrNoWrite},
		"out of scope":            {spec: devserver.TokenSpec{Scopes: ofProd}, place: elsewhere, want: &ScopeError{Place: elsewhere, Scopes: ofProd}},
		"no such environment":     {spec: devserver.TokenSpec{Scopes: servicetoken.Scopes{{Environment: "qa", Path: "/**"}}}, place: nowhere, want: &NotFoundError{Place: nowhere, Environment: true, Environments: []string{"dev", "prod", "staging"}}},
		"no environment, by name": {identity: true, place: nowhere, want: &NotFoundError{Place: nowhere, Environment: true, Environments: []string{"dev", "prod", "staging"}}},
		"client on version 3":     {version: 3, decryption: Client, want: ErrProjectVersion},
		"client without a key":    {spec: devserver.TokenSpec{WithoutKey: true}, decryption: Client, want: ErrClientNeedsKey},
		"client for an identity":  {identity: true, decryption: Client, want: ErrIdentityClient},
		"key of another's":        {otherKey: true, want: ErrProjectKey},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, max(tc.version, 1))
			if tc.spec.Permissions == nil {
				tc.spec.Permissions = readWrite
			}
			cred := w.credential(tc.spec)
			if tc.identity {
				cred, _ = w.identity(devserver.IdentitySpec{})
			}
			if tc.otherKey {
				cred = w.credentialOf(withKey(w.project.AddToken(devserver.TokenSpec{Scopes: everywhere(), Permissions: readWrite}), strings.Repeat("0", 32)))
			}
			cred.Decryption = tc.decryption
			if tc.place == (Place{}) {
				tc.place = app
			}
			token := w.described(cred)
			asked := w.asked()
			f, err := w.pool.Folder(cred, token, tc.place)
			w.Expect(f).To(BeNil())
			w.Expect(err).To(MatchError(tc.want))
			w.expect(asked)
		})
	}
}

func TestAFolderIsForWhoReadsWithTheCredential(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{Permissions: readWrite})
	token := w.described(cred)
	_, err := w.pool.Folder(cred, nil, app) // not described yet
	w.Expect(err).To(MatchError(errUnread))
	w.pool.Leave(alice)
	_, err = w.pool.Folder(cred, token, app)
	w.Expect(err).To(MatchError(errUnread))
}

func TestATokenThatOnlyWritesWrites(t *testing.T) {
	for _, version := range []int{1, 3} {
		w := newWorld(t, version)
		f := w.writer(devserver.TokenSpec{Permissions: writeOnly})
		w.Expect(f.token.CanRead()).To(BeFalse())
		w.Expect(f.Create(t.Context(), "NEW", []byte("1"))).To(Succeed())
		w.Expect(f.Update(t.Context(), "KEY", []byte("2"))).To(Succeed())
		w.Expect(w.there()).To(Equal(map[string]string{"NEW": "1", "KEY": "2"}))
		w.Expect(f.State("NEW", []byte("1"))).To(Equal(Same), "what was written is known")
		w.Expect(f.State("KEY", []byte("2"))).To(Equal(Same))
		w.Expect(infisical.KindOf(f.Reread(t.Context()))).To(Equal(infisical.KindPermissionDenied))
		w.Expect(f.State("KEY", []byte("2"))).To(Equal(Same))
		w.Expect(f.Delete(t.Context(), "KEY")).To(Succeed())
		w.Expect(w.there()).To(Equal(map[string]string{"NEW": "1"}))
		w.Expect(w.backend.Count("/api/v1/secret-imports", "")).To(BeZero())
	}
	w := newWorld(t, 1)
	w.Expect(w.writer(devserver.TokenSpec{}).token.CanRead()).To(BeTrue())
}

func TestWhatIsNotAsItWasThoughtToBeIsToldAndNotNoted(t *testing.T) {
	for _, version := range []int{1, 3} {
		w := newWorld(t, version)
		f := w.writer(devserver.TokenSpec{})
		w.Expect(infisical.KindOf(f.Create(t.Context(), "KEY", []byte("other")))).To(Equal(infisical.KindSecretExists))
		w.Expect(infisical.KindOf(f.Update(t.Context(), nobody, []byte("other")))).To(Equal(infisical.KindSecretNotFound))
		w.Expect(infisical.KindOf(f.Delete(t.Context(), nobody))).To(Equal(infisical.KindSecretNotFound))
		w.Expect(f.State("KEY", []byte("other"))).To(Equal(Absent))
		w.Expect(f.State(nobody, []byte("other"))).To(Equal(Absent))
		w.Expect(w.there()).To(Equal(map[string]string{"KEY": "value"}))

		w.Expect(f.Reread(t.Context())).To(Succeed())
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		w.Expect(f.Update(gone, "KEY", []byte("other"))).To(MatchError(context.Canceled))
		w.Expect(f.Delete(gone, "KEY")).To(MatchError(context.Canceled))
		w.Expect(f.Reread(gone)).To(MatchError(context.Canceled))
		w.backend.SetFault(devserver.Fault{Status: http.StatusBadGateway, Times: 1})
		w.Expect(infisical.KindOf(f.Update(t.Context(), "KEY", []byte("other")))).To(Equal(infisical.KindServer))
		w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same))
		w.Expect(w.there()).To(Equal(map[string]string{"KEY": "value"}))
	}
}

func TestTwoSecretsOfANameAreTold(t *testing.T) {
	w := newWorld(t, 1)
	w.project.PutDuplicate("prod", "/app", "KEY", "value") // though both are the same
	f := w.writer(devserver.TokenSpec{})
	f.Holds(w.values(f.cred, day, app, map[string]string{"KEY": "value"}))
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Twice))
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Twice))
	w.project.Delete("prod", "/app", "KEY")
	w.project.Put("prod", "/app", "KEY", "value")
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same))
}

func TestRereadLearnsNothingOfABadAnswer(t *testing.T) {
	w := newWorld(t, 1)
	f := w.writer(devserver.TokenSpec{})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.project.Put("prod", "/app", "KEY", "changed")
	w.backend.SetFault(devserver.Fault{Route: sealedPath, CorruptBody: true})
	w.Expect(infisical.KindOf(f.Reread(t.Context()))).To(Equal(infisical.KindBadAnswer))
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same))
}

func TestAValueIsThatOfOneSecret(t *testing.T) {
	for _, version := range []int{1, 3} {
		w := newWorld(t, version)
		w.project.Put("prod", "/app", "EMPTY", "")
		f := w.writer(devserver.TokenSpec{})
		f.unvalued(w, "KEY") // nothing is known yet
		f.Holds(w.values(f.cred, day, app, map[string]string{"KEY": "value", "EMPTY": ""}))
		for range 2 {
			f.valued(w, "KEY", "value")
			f.valued(w, "EMPTY", "")
			f.unvalued(w, nobody)
			w.Expect(f.Reread(t.Context())).To(Succeed())
		}
		w.project.Put("prod", "/app", "KEY", "changed")
		f.valued(w, "KEY", "value") // as it was read last
		w.Expect(f.Reread(t.Context())).To(Succeed())
		f.valued(w, "KEY", "changed")
		w.Expect(f.Update(t.Context(), "KEY", []byte("ours"))).To(Succeed())
		w.Expect(f.Create(t.Context(), "NEW", nil)).To(Succeed())
		for range 2 {
			f.valued(w, "KEY", "ours")
			f.valued(w, "NEW", "")
			w.Expect(f.Reread(t.Context())).To(Succeed())
		}
		w.Expect(infisical.KindOf(f.Update(t.Context(), nobody, []byte("ours")))).To(Equal(infisical.KindSecretNotFound))
		f.unvalued(w, nobody)
		w.Expect(f.Delete(t.Context(), "KEY")).To(Succeed())
		f.unvalued(w, "KEY")
		f.valued(w, "NEW", "")
	}
}

// TestAValueIsTheServers where it removes white space: what was sent and what is read are equal once they are trimmed.
func TestAValueIsTheServers(t *testing.T) {
	w := newWorld(t, 3)
	f := w.writer(devserver.TokenSpec{})
	w.Expect(f.Create(t.Context(), "NEW", []byte(" a b\n"))).To(Succeed())
	value, ok := f.Value("NEW")
	w.Expect(ok).To(BeTrue())
	w.Expect(f.Trimmed(value)).To(BeEquivalentTo("a b"))
	w.Expect(f.Reread(t.Context())).To(Succeed())
	f.valued(w, "NEW", "a b")
}

func TestTwoSecretsOfANameHaveNoValue(t *testing.T) {
	w := newWorld(t, 1)
	w.project.PutDuplicate("prod", "/app", "KEY", "value")
	f := w.writer(devserver.TokenSpec{})
	f.Holds(w.values(f.cred, day, app, map[string]string{"KEY": "value"}))
	for range 2 {
		f.unvalued(w, "KEY")
		w.Expect(f.Reread(t.Context())).To(Succeed())
	}
	w.spoil(f, "KEY", map[string]parts{"secretValue": w.unopenable(f)["by another key"]}) // one of them
	w.Expect(f.Reread(t.Context())).To(Succeed())
	f.unvalued(w, "KEY")
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Twice))
}

// valued expects that a name has this value.
func (f *Folder) valued(w *world, name, want string) {
	w.t.Helper()
	value, ok := f.Value(name)
	w.Expect(ok).To(BeTrue(), name)
	w.Expect(value).To(BeEquivalentTo(want), name)
	w.Expect(f.State(name, []byte(want))).To(Equal(Same), name)
}

// unvalued expects that a name has no value that could be told.
func (f *Folder) unvalued(w *world, name string) {
	w.t.Helper()
	value, ok := f.Value(name)
	w.Expect(ok).To(BeFalse(), name)
	w.Expect(value).To(BeNil(), name)
}

// parts are an encrypted field as it is sent: ciphertext, IV and tag.
type parts [3]string

func (w *world) sealed(key servicetoken.ProjectKey, text string) parts {
	w.t.Helper()
	sealed, err := key.Seal([]byte(text), rand.Reader)
	w.Expect(err).NotTo(HaveOccurred())
	ciphertext, iv, tag := sealed.Parts()
	encode := base64.StdEncoding.EncodeToString
	return parts{encode(ciphertext), encode(iv), encode(tag)}
}

// unopenable are fields that somebody else may have written, and that do not open.
func (w *world) unopenable(f *Folder) map[string]parts {
	w.t.Helper()
	another, err := servicetoken.NewProjectKey(strings.Repeat("0", 32))
	w.Expect(err).NotTo(HaveOccurred())
	one, other := w.sealed(f.token.key, "value"), w.sealed(f.token.key, "value")
	return map[string]parts{
		"by another key": w.sealed(another, "value"),
		"another's tag":  {one[0], one[1], other[2]},
		"another's IV":   {one[0], other[1], one[2]},
		"no ciphertext":  {"", one[1], one[2]},
		"no tag":         {one[0], one[1], ""},
		"a short IV":     {one[0], "AAAA", one[2]},
		"no base64":      {"%", one[1], one[2]},
		"nothing":        {},
	}
}

// spoil changes fields of a secret of prod:/app at the server, as somebody does who is careless.
func (w *world) spoil(f *Folder, name string, fields map[string]parts) {
	w.t.Helper()
	content := map[string]string{"workspaceId": f.ProjectID(), "environment": "prod", "secretPath": "/app"}
	for field, parts := range fields {
		content[field+"Ciphertext"], content[field+"IV"], content[field+"Tag"] = parts[0], parts[1], parts[2]
	}
	body, err := json.Marshal(content)
	w.Expect(err).NotTo(HaveOccurred())
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPatch, "/api/v3/secrets/"+name, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+f.cred.Token.Bearer())
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.backend.ServeHTTP(answer, r)
	w.Expect(answer.Code).To(Equal(http.StatusOK), answer.Body.String())
}

func TestAValueThatDoesNotOpenDiffersFromAllUntilItIsWritten(t *testing.T) {
	for _, version := range []int{1, 2} {
		w := newWorld(t, version)
		f := w.writer(devserver.TokenSpec{})
		w.project.Put("prod", "/app", "OTHER", "1")
		for how, broken := range w.unopenable(f) {
			w.project.Put("prod", "/app", "KEY", "value")
			w.remark("rotate by hand")
			w.spoil(f, "KEY", map[string]parts{"secretValue": broken})
			w.Expect(f.Reread(t.Context())).To(Succeed(), how)
			for _, value := range [][]byte{nil, {}, []byte("value"), []byte("\x00")} {
				w.Expect(f.State("KEY", value)).To(Equal(Differs), "%s: %q", how, value)
			}
			f.unvalued(w, "KEY")
			f.valued(w, "OTHER", "1") // which has nothing to do with it

			w.Expect(infisical.KindOf(f.Create(t.Context(), "KEY", []byte("ours")))).To(Equal(infisical.KindSecretExists), how)
			f.unvalued(w, "KEY")
			w.Expect(f.Update(t.Context(), "KEY", []byte("ours"))).To(Succeed(), how)
			for range 2 {
				f.valued(w, "KEY", "ours")
				w.Expect(f.State("KEY", nil)).To(Equal(Differs))
				w.Expect(f.Reread(t.Context())).To(Succeed(), how)
			}
			w.Expect(w.there()).To(Equal(map[string]string{"KEY": "ours", "OTHER": "1"}), how)
			w.Expect(w.comment()).To(Equal("rotate by hand"), how)
		}
		w.values(f.cred, day, app, map[string]string{"KEY": "ours", "OTHER": "1"}) // so that others read it again
	}
}

func TestAValueThatDoesNotOpenCanBeDeletedAndMadeAnew(t *testing.T) {
	w := newWorld(t, 1)
	f := w.writer(devserver.TokenSpec{})
	w.spoil(f, "KEY", map[string]parts{"secretValue": w.unopenable(f)["another's tag"]})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.Expect(f.State("KEY", nil)).To(Equal(Differs))
	w.Expect(f.Delete(t.Context(), "KEY")).To(Succeed())
	w.Expect(f.State("KEY", nil)).To(Equal(Absent))
	w.Expect(f.Create(t.Context(), "KEY", nil)).To(Succeed())
	f.valued(w, "KEY", "")
	w.Expect(f.Reread(t.Context())).To(Succeed())
	f.valued(w, "KEY", "")
}

// TestACommentThatDoesNotOpenIsNobodysAffair but of who wrote it: it is sent back as it came.
func TestACommentThatDoesNotOpenIsNobodysAffair(t *testing.T) {
	w := newWorld(t, 1)
	f := w.writer(devserver.TokenSpec{})
	broken := w.unopenable(f)
	w.spoil(f, "KEY", map[string]parts{"secretValue": broken["another's tag"], "secretComment": broken["by another key"]})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.Expect(f.Update(t.Context(), "KEY", []byte("ours"))).To(Succeed())
	w.Expect(f.Reread(t.Context())).To(Succeed())
	f.valued(w, "KEY", "ours")
	ciphertext, iv, tag := f.secrets["KEY"][0].comment.Parts()
	for i, part := range [][]byte{ciphertext, iv, tag} {
		w.Expect(base64.StdEncoding.EncodeToString(part)).To(Equal(broken["by another key"][i]))
	}
}

func TestRereadLeavesOutWhatHasNoNameThatOpens(t *testing.T) {
	for _, version := range []int{1, 2} {
		w := newWorld(t, version)
		f := w.writer(devserver.TokenSpec{})
		w.project.Put("prod", "/app", "OTHER", "1")
		for how, broken := range w.unopenable(f) {
			w.Expect(f.Reread(t.Context())).To(Succeed())
			f.valued(w, "KEY", "value")
			w.spoil(f, "KEY", map[string]parts{"secretKey": broken, "secretValue": w.sealed(f.token.key, "value")})
			w.Expect(f.Reread(t.Context())).To(Succeed(), how)
			w.Expect(f.secrets).To(And(HaveLen(1), HaveKey("OTHER")), how)
			w.Expect(f.State("KEY", []byte("value"))).To(Equal(Absent), how)
			f.unvalued(w, "KEY")
			f.valued(w, "OTHER", "1")
			w.Expect(infisical.KindOf(f.Create(t.Context(), "KEY", []byte("ours")))).To(Equal(infisical.KindSecretExists), "the server knows it")
			w.Expect(f.Update(t.Context(), "OTHER", []byte("1"))).To(Succeed(), how)
			w.Expect(w.there()).To(Equal(map[string]string{"KEY": "value", "OTHER": "1"}), how)
			w.project.Delete("prod", "/app", "KEY")
			w.project.Put("prod", "/app", "KEY", "value")
		}
	}
}

func TestAFolderOfWhichNoNameOpensIsThereAndHoldsNothing(t *testing.T) {
	w := newWorld(t, 1)
	f := w.writer(devserver.TokenSpec{})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	broken := w.unopenable(f)["by another key"]
	w.spoil(f, "KEY", map[string]parts{"secretKey": broken, "secretValue": broken})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.Expect(f.secrets).To(BeEmpty())
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Absent))
	w.Expect(f.Create(t.Context(), "NEW", []byte("1"))).To(Succeed())
	w.Expect(f.Reread(t.Context())).To(Succeed())
	f.valued(w, "NEW", "1")
}

func TestRereadBelievesNoEmptyAnswerThatIsNotConfirmed(t *testing.T) {
	w := newWorld(t, 3)
	f := w.writer(devserver.TokenSpec{})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.project.Delete("prod", "/app", "KEY")
	w.backend.SetFault(devserver.Fault{Route: "/api/v1/secret-imports", Status: http.StatusForbidden})
	w.Expect(infisical.KindOf(f.Reread(t.Context()))).To(Equal(infisical.KindPermissionDenied))
	w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same))
}

func TestAProjectThatBecameVersion3TakesNothingThatIsEncryptedHere(t *testing.T) {
	w := newWorld(t, 2)
	f := w.writer(devserver.TokenSpec{})
	w.Expect(f.Reread(t.Context())).To(Succeed())
	w.project.Migrate()
	for _, err := range []error{
		f.Create(t.Context(), "NEW", []byte("1")), f.Update(t.Context(), "KEY", []byte("1")), f.Delete(t.Context(), "KEY"),
	} {
		w.Expect(infisical.KindOf(err)).To(Equal(infisical.KindNoBlindIndex))
		w.Expect(Transient(err)).To(BeTrue(), "the next description of the project ends it")
	}
	w.Expect(w.there()).To(Equal(map[string]string{"KEY": "value"}))

	before := f.token
	w.pool.Refresh(alice)
	w.Eventually(func() *Token { return w.pool.Read(alice, f.cred, day).Token }).ShouldNot(BeIdenticalTo(before))
	f = w.folder(f.cred, app)
	w.Expect(f.Trims()).To(BeTrue())
	w.Expect(f.Update(t.Context(), "KEY", []byte("1"))).To(Succeed())
	w.Expect(w.there()).To(Equal(map[string]string{"KEY": "1"}))
}

func TestAnIdentityWritesInClearText(t *testing.T) {
	for _, version := range []int{1, 3} {
		for _, slug := range []bool{false, true} {
			w := newWorld(t, version, devserver.WithV4(slug))
			cred, made := w.identity(devserver.IdentitySpec{})
			if slug {
				cred = w.identityOf(made.ClientID, made.ClientSecret, w.project.Slug())
			}
			f := w.folder(cred, app)
			w.Expect(f.Trims()).To(BeTrue())
			w.Expect(f.ProjectID()).To(Equal(w.project.ID()))
			w.Expect(f.Reread(t.Context())).To(Succeed())
			w.Expect(f.State("KEY", []byte("value"))).To(Equal(Same))
			w.pass(sessionRecheck)
			w.backend.RevokeAccessTokens("") // which another login mends, at once
			w.Expect(f.Create(t.Context(), "NEW", []byte("1"))).To(Succeed())
			w.Expect(f.Update(t.Context(), "KEY", []byte("2"))).To(Succeed())
			w.Expect(w.there()).To(Equal(map[string]string{"KEY": "2", "NEW": "1"}))
			w.Expect(f.Delete(t.Context(), "KEY")).To(Succeed())
			w.Expect(f.Reread(t.Context())).To(Succeed())
			w.Expect(f.State("KEY", nil)).To(Equal(Absent))
			w.Expect(w.asked().login).To(Equal(2))
		}
	}
}

func TestWhatAnIdentityMayNotDoTheServerTells(t *testing.T) {
	w := newWorld(t, 3)
	cred, _ := w.identity(devserver.IdentitySpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/**"}}})
	f := w.folder(cred, app)
	for _, err := range []error{
		f.Reread(t.Context()), f.Create(t.Context(), "NEW", nil), f.Update(t.Context(), "KEY", nil), f.Delete(t.Context(), "KEY"),
	} {
		w.Expect(infisical.KindOf(err)).To(Equal(infisical.KindPermissionDenied))
	}
	w.Expect(w.there()).To(Equal(map[string]string{"KEY": "value"}))
}

func TestAProjectIsWrittenByItsIDOnly(t *testing.T) {
	w := newWorld(t, 3)
	made := w.project.AddIdentity(devserver.IdentitySpec{})
	w.backend.SetFault(devserver.Fault{Route: projectPath, Status: http.StatusForbidden})
	w.backend.SetFault(devserver.Fault{Route: "/api/v2/workspace", Status: http.StatusNotFound})
	cred := w.identityOf(made.ClientID, made.ClientSecret, w.project.Slug())
	_, err := w.pool.Folder(cred, w.described(cred), app)
	w.Expect(err).To(MatchError(ErrProjectUnnamed))

	cred = w.identityOf(made.ClientID, made.ClientSecret, w.project.ID()) // of which is not known whether the environment is there
	w.Expect(w.folder(cred, app).Update(t.Context(), "KEY", []byte("1"))).To(Succeed())
	w.Expect(w.there()).To(Equal(map[string]string{"KEY": "1"}))
	nowhere := Place{Environment: "qa", Path: "/"}
	w.Expect(w.folder(cred, nowhere).Create(t.Context(), "KEY", nil)).To(MatchError(&NotFoundError{Place: nowhere}))
}

// meter counts uses, and refuses them if it is told to.
type meter struct {
	uses atomic.Int64
	full atomic.Bool
}

var errFull = errors.New("full")

func (m *meter) Use(context.Context, string) error {
	if m.full.Load() {
		return errFull
	}
	m.uses.Add(1)
	return nil
}

func TestEachRequestOfAFolderIsAUseOfTheToken(t *testing.T) {
	for _, version := range []int{1, 3} {
		w := newWorld(t, version, devserver.WithV4(true))
		front := httptest.NewServer(w)
		t.Cleanup(front.Close)
		m := &meter{}
		var err error
		w.server, err = infisical.NewClient(infisical.Options{AllowHTTP: true, Clock: w.clock, Meter: m}).Server(front.URL, nil)
		w.Expect(err).NotTo(HaveOccurred())
		f := w.writer(devserver.TokenSpec{})
		costs := func(uses int, do func() error) {
			t.Helper()
			before := m.uses.Load()
			w.Expect(do()).To(Succeed())
			w.Expect(m.uses.Load() - before).To(BeEquivalentTo(uses))
		}
		costs(0, func() error { _, err := w.pool.Folder(f.cred, f.token, app); return err })
		costs(1, func() error { return f.Reread(t.Context()) })
		costs(1, func() error { return f.Create(t.Context(), "NEW", nil) })
		costs(1, func() error { return f.Update(t.Context(), "NEW", []byte("1")) })
		costs(1, func() error { return f.Delete(t.Context(), "NEW") })
		costs(1, func() error { return f.Delete(t.Context(), "KEY") })
		costs(2, func() error { return f.Reread(t.Context()) }) // nothing, and whether that is so

		m.full.Store(true)
		err = f.Create(t.Context(), "NEW", nil)
		w.Expect(err).To(MatchError(errFull))
		w.Expect(infisical.KindOf(err)).To(BeEmpty())
		w.Expect(w.there()).To(BeEmpty())
		w.Expect(f.State("NEW", nil)).To(Equal(Absent))
	}
}

// TestNothingIsSentThatIsNotEncrypted has a system without randomness.
func TestNothingIsSentThatIsNotEncrypted(t *testing.T) {
	w := newWorld(t, 1)
	f := w.writer(devserver.TokenSpec{})
	system := rand.Reader
	t.Cleanup(func() { rand.Reader = system })
	rand.Reader = iotest.ErrReader(errors.New("no randomness"))
	before := w.asked()
	w.Expect(f.Create(t.Context(), "NEW", []byte("1"))).To(MatchError(ContainSubstring("encrypting: making an IV: no randomness")))
	w.Expect(f.Update(t.Context(), "KEY", []byte("1"))).To(MatchError(ContainSubstring("no randomness")))
	w.expect(before)
	w.Expect(w.there()).To(Equal(map[string]string{"KEY": "value"}))
}
