package infisical

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestNoErrorTellsASecret lets a server put a word everywhere it can, in every kind of answer, and looks for that word,
// the token and the query in everything that an error can be turned into.
func TestNoErrorTellsASecret(t *testing.T) {
	const word = "TOPSECRET"
	const clientSecret, jwt = "client-secret-word", "jwt-word"
	at := Entry{ProjectID: anyQuery.ProjectID, Environment: "dev", Path: "/path-word", Name: "NAME-WORD"}
	forbidden := []string{word, "de1b61d85259529cdfcedc541c2529ab", testKey, "Bearer", anyQuery.ProjectID, clientSecret, jwt, "access-word", at.Path, at.Name}
	for _, text := range writtenFields(t).wire() {
		forbidden = append(forbidden, text)
	}

	answers := map[string]func(net.Conn){}
	add := func(status int, body string, headers ...string) {
		name := fmt.Sprintf("%d %s %v", status, body, headers)
		answers[name] = func(conn net.Conn) {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nX-Word: %s\r\nContent-Length: %d\r\n", status, word, word, len(body))
			for _, h := range headers {
				_, _ = io.WriteString(conn, h+"\r\n")
			}
			_, _ = io.WriteString(conn, "\r\n"+body)
		}
	}
	for _, status := range []int{200, 201, 204, 300, 304, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503} {
		add(status, word)
		add(status, `{"message":"`+word+`","error":"`+word+`"}`)
		for _, message := range []string{"Invalid service token", "Service token with ID '" + word + "' not found", "Folder with path '" + word + "' not found", "Route " + word + " not found", "You are not allowed to " + word} {
			add(status, `{"message":"`+message+`","error":"`+word+`"}`)
		}
	}
	for _, body := range []string{
		`{"secret":"` + word + `"}`, `{"secret":null,"message":"` + word + `"}`, `{"approval":{"slug":"` + word + `"}}`,
		`{"secrets":"` + word + `"}`, `{"secrets":[{"secretKey":"` + word + `"}]}`, `{"secrets":[{"secretKey":{"` + word + `":1}}]}`,
		`{"secrets":[{"environment":"` + word + `","secretKey":"a","secretValue":"` + word + `","secretKeyCiphertext":"","secretValueCiphertext":""}]}`,
		`{"secrets":[{"secretKey":"` + word + `","secretValue":"` + word + `","secretValueHidden":true}]}`,
		`{"secrets":[{"secretKey":"` + word + `","secretValue":"` + word + "\xff" + `"}]}`,
		`{"accessToken":"` + word + `"}`, `{"accessToken":"` + word + `","expiresIn":"` + word + `"}`, `{"accessToken":"` + word + `","expiresIn":-1}`,
		`{"accessToken":"` + word + `\n","expiresIn":1}`, `{"accessToken":"","expiresIn":1}`,
		`{"expiresAt":"` + word + `"}`, `{"workspace":"` + word + `"}`, word + strings.Repeat("x", 2000),
	} {
		add(200, body)
	}
	for _, status := range []int{301, 302, 307} {
		add(status, word, "Location: https://"+word+".example/"+word)
		add(status, word, "Location: http://u:"+word+"@127.0.0.1/")
		add(status, word, "Location: %zz"+word)
	}
	for _, raw := range []string{word + "\r\n\r\n", "HTTP/1.1 " + word + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + word + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + word + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: " + word + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + word + "\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + word, ""} {
		answers["raw "+raw] = func(conn net.Conn) { _, _ = io.WriteString(conn, raw) }
	}

	for name, answer := range answers {
		url := listen(t, func(conn net.Conn) {
			buffer := make([]byte, 4096)
			n, _ := conn.Read(buffer)
			if strings.Contains(string(buffer[:n]), testKey) {
				t.Error("the token's key is on the wire")
			}
			answer(conn)
		})
		calls := map[string]func(*Server) error{
			"token":   func(s *Server) error { _, err := s.ServiceToken(t.Context(), testToken(t)); return err },
			"project": func(s *Server) error { _, err := s.Project(t.Context(), testToken(t), anyQuery.ProjectID); return err },
			"encrypted": func(s *Server) error {
				_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
				return err
			},
			"plain":      func(s *Server) error { _, err := s.PlainSecrets(t.Context(), testToken(t), anyQuery, ""); return err },
			"universal":  func(s *Server) error { _, err := s.UniversalAuth(t.Context(), "id", clientSecret); return err },
			"kubernetes": func(s *Server) error { _, err := s.KubernetesAuth(t.Context(), "id", jwt); return err },
			"by identity": func(s *Server) error {
				_, err := s.PlainSecrets(t.Context(), AccessToken{bearer: "access-word"}, anyQuery, "")
				return err
			},
			"by slug": func(s *Server) error {
				_, err := s.ProjectBySlug(t.Context(), AccessToken{bearer: "access-word"}, "slug")
				return err
			},
			"imports": func(s *Server) error { return s.SecretImports(t.Context(), testToken(t), anyQuery) },
		}
		for route := range writes(t, nil, at) {
			calls[route] = func(s *Server) error { return writes(t, s, at)[route]() }
		}
		for call, do := range calls {
			s := mustServer(t, NewClient(Options{AllowHTTP: true, MaxBody: 1000}), url, nil)
			for range 2 { // the second may be refused by the gate, and repeats the first
				err := do(s)
				if err == nil {
					t.Errorf("%s accepts %s", call, name)
					continue
				}
				for _, text := range textsOf(err) {
					for _, f := range forbidden {
						if strings.Contains(strings.ToLower(text), strings.ToLower(f)) {
							t.Errorf("%s, answered %q: %s tells %s", call, name, text, f)
						}
					}
				}
				if _, ok := errors.AsType[*Error](err); !ok {
					t.Errorf("%s, answered %q: %T", call, name, err)
				}
				if KindOf(err) == KindRateLimited {
					break // the second would wait
				}
			}
		}
	}
}

// textsOf is everything that printing an error, or what it wraps, can show.
func textsOf(err error) []string {
	var texts []string
	for ; err != nil; err = errors.Unwrap(err) {
		marshaled, _ := json.Marshal(err)
		texts = append(texts, err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), string(marshaled))
	}
	return texts
}

func TestErrorsNameTheRouteByItsTemplateAndTheServer(t *testing.T) {
	s := serve(t, Options{}, respond(http.StatusForbidden, `{"error":"PermissionDenied"}`))
	_, err := s.Project(t.Context(), testToken(t), "1234")
	if got := err.Error(); got != "GET /api/v1/workspace/{projectID} at "+s.Host()+": the token is not allowed to do this here (status 403)" {
		t.Error(got)
	}
}
