package infisical

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"unicode/utf8"
	"unique"
)

// The causes of KindBadAnswer. The errors of encoding/json are not passed on, as they quote what they could not read.
var (
	errNotJSON    = errors.New("it is not JSON of the expected form")
	errNotUTF8    = errors.New("it is not UTF-8")
	errIncomplete = errors.New("a part of it is missing")
	errNoList     = errors.New("it has no list of secrets")
	errNoField    = errors.New("a secret in it has no name or no value")
)

// hidden is said by the value of a secret that the token may see the name of only.
var errHidden = errors.New("value hidden")

// answerWire is the body of the three routes for secrets. Lists are pointers, to tell an empty one from none: a body
// that lost its list must not look like a folder without secrets.
type answerWire[W any] struct {
	Secrets *[]W `json:"secrets"`
	Imports []struct {
		Environment string `json:"environment"`
		SecretPath  string `json:"secretPath"`
		Secrets     *[]W   `json:"secrets"`
	} `json:"imports"`
}

// labels are what the server says about a secret: where it lies, and its tags.
type labels struct {
	ID          string `json:"id"`
	Environment string `json:"environment"`
	SecretPath  string `json:"secretPath"`
	Tags        []struct {
		Slug string `json:"slug"`
	} `json:"tags"`
}

func (l labels) place() (environment, path string) { return l.Environment, l.SecretPath }

// slugs returns the tags in an order that does not depend on the server's, so that another order is no change. Many secrets have
// the same few: they share the texts.
func (l labels) slugs() []string {
	if len(l.Tags) == 0 {
		return nil
	}
	slugs := make([]string, len(l.Tags))
	for i, t := range l.Tags {
		slugs[i] = unique.Make(t.Slug).Value()
	}
	slices.Sort(slugs)
	return slugs
}

type sealedWire struct {
	labels
	KeyCiphertext   *encoded `json:"secretKeyCiphertext"`
	KeyIV           encoded  `json:"secretKeyIV"`
	KeyTag          encoded  `json:"secretKeyTag"`
	ValueCiphertext *encoded `json:"secretValueCiphertext"` // present and empty for an empty value
	ValueIV         encoded  `json:"secretValueIV"`
	ValueTag        encoded  `json:"secretValueTag"`
}

func (w sealedWire) secret() (SealedSecret, error) {
	if w.KeyCiphertext == nil || w.ValueCiphertext == nil {
		return SealedSecret{}, errNoField
	}
	return SealedSecret{
		ID: w.ID, Environment: w.Environment, Path: w.SecretPath,
		Name:  sealed(*w.KeyCiphertext, w.KeyIV, w.KeyTag),
		Value: sealed(*w.ValueCiphertext, w.ValueIV, w.ValueTag),
		Tags:  w.slugs(),
	}, nil
}

// commentedWire is for the few who need comments: the others need not decode them.
type commentedWire struct {
	sealedWire
	CommentCiphertext encoded `json:"secretCommentCiphertext"` // this and the next two can be null
	CommentIV         encoded `json:"secretCommentIV"`
	CommentTag        encoded `json:"secretCommentTag"`
}

func (w commentedWire) secret() (CommentedSecret, error) {
	s, err := w.sealedWire.secret()
	return CommentedSecret{SealedSecret: s, Comment: sealed(w.CommentCiphertext, w.CommentIV, w.CommentTag)}, err
}

type plainWire struct {
	labels
	Key    string  `json:"secretKey"`
	Value  *string `json:"secretValue"`
	Hidden bool    `json:"secretValueHidden"` // the value is a placeholder
}

func (w plainWire) secret() (PlainSecret, error) {
	switch {
	case w.Hidden:
		return PlainSecret{}, errHidden
	case w.Key == "" || w.Value == nil:
		return PlainSecret{}, errNoField
	}
	return PlainSecret{
		ID: w.ID, Environment: w.Environment, Path: w.SecretPath, Name: w.Key, Value: *w.Value, Tags: w.slugs(),
	}, nil
}

// decodeAnswer turns a reply into an Answer, or into an Error when anything about it is not as it must be.
func decodeAnswer[W interface{ place() (string, string) }, S any](
	route string, r reply, q Query, secret func(W) (S, error),
) (Answer[S], error) {
	if r.notModified {
		return Answer[S]{ETag: r.etag, NotModified: true}, nil
	}
	var wire answerWire[W]
	if err := decode(route, r.body, &wire); err != nil {
		return Answer[S]{}, err
	}
	own, err := secretsOf(route, wire.Secrets, secret)
	if err != nil {
		return Answer[S]{}, err
	}
	answer := Answer[S]{ETag: r.etag, Secrets: own[:0]}
	for i, w := range *wire.Secrets {
		environment, path := w.place()
		switch {
		case q.covers(environment, path):
			answer.Secrets = append(answer.Secrets, own[i])
		case q.neighbors(environment, path): // left out
		default:
			return Answer[S]{}, &Error{Kind: KindWrongPlace, Status: http.StatusOK, Route: route}
		}
	}
	for _, i := range wire.Imports {
		imported, err := secretsOf(route, i.Secrets, secret)
		if err != nil {
			return Answer[S]{}, err
		}
		answer.Imports = append(answer.Imports, Import[S]{Environment: i.Environment, Path: i.SecretPath, Secrets: imported})
	}
	return answer, nil
}

func secretsOf[W, S any](route string, list *[]W, secret func(W) (S, error)) ([]S, error) {
	if list == nil {
		return nil, badAnswer(route, errNoList)
	}
	secrets := make([]S, len(*list))
	for i, w := range *list {
		s, err := secret(w)
		if errors.Is(err, errHidden) {
			return nil, &Error{Kind: KindValueHidden, Status: http.StatusOK, Route: route}
		}
		if err != nil {
			return nil, badAnswer(route, err)
		}
		secrets[i] = s
	}
	return secrets, nil
}

func decode(route string, body []byte, into any) error {
	// encoding/json would put U+FFFD in the place of what is no UTF-8: a changed value instead of an error.
	if !utf8.Valid(body) {
		return badAnswer(route, errNotUTF8)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return badAnswer(route, errNotJSON)
	}
	return nil
}

func badAnswer(route string, cause error) *Error {
	return &Error{Kind: KindBadAnswer, Status: http.StatusOK, Route: route, Err: cause}
}
