package devserver

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // what the real server makes its ETags with
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// answer is what goes back: a JSON body and its ETag. It is never changed once made, so that lists can be kept.
type answer struct {
	status int
	body   []byte
	etag   string
}

// newAnswer encodes as JavaScript does, which leaves <, > and & as they are.
func newAnswer(status int, body any) *answer {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		panic(wrong("encoding an answer: %w", err))
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	sum := sha1.Sum(text) //nolint:gosec // as above
	return &answer{status: status, body: text, etag: `"` + base64.StdEncoding.EncodeToString(sum[:]) + `"`}
}

// failure is an error as most of the server's stages word it; message is a text, or the issues of a schema error.
func failure(status int, name string, message any) *answer {
	return newAnswer(status, struct {
		StatusCode int    `json:"statusCode"`
		Message    any    `json:"message"`
		Error      string `json:"error"`
	}{status, message, name})
}

// wentWrong is how the server words what it did not expect.
func wentWrong() *answer {
	return failure(http.StatusInternalServerError, "InternalServerError", "Something went wrong")
}

// noRoute is the web framework's own 404, query and all.
func noRoute(r *http.Request) *answer {
	return newAnswer(http.StatusNotFound, struct {
		Message    string `json:"message"`
		Error      string `json:"error"`
		StatusCode int    `json:"statusCode"`
	}{"Route " + r.Method + ":" + r.URL.RequestURI() + " not found", "Not Found", http.StatusNotFound})
}

// matches says whether the client has this answer already. The server compares texts, so a list, a weak ETag and * never
// match; and it compares them for errors too.
func (a *answer) matches(r *http.Request) bool {
	return strings.Join(r.Header.Values("If-None-Match"), ", ") == a.etag
}

// write sends the answer. A cut one ends in the middle of its body.
func (a *answer) write(w http.ResponseWriter, status int, cut bool) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("ETag", a.etag)
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(status)
	body := a.body
	if cut {
		body = body[:len(body)/2] // less than announced: net/http then closes the connection
	}
	_, _ = w.Write(body) // the client may have gone
}
