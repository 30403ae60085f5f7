package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// infisical is the development server, reached by its management API.
type infisical struct {
	url     string
	project string
}

func newInfisical(url string) *infisical { return &infisical{url: url} }

// do makes one request of the management API.
func (i *infisical) do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, method, i.url+"/dev"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// addProject makes the one project, of version 1, with all sources of a world.
func (i *infisical) addProject(ctx context.Context, w *world) error {
	folders := make(map[string]map[string]string, w.sources)
	for source := range w.sources {
		folders[sourcePath(source)] = w.values(source)
	}
	var project struct {
		ID string `json:"id"`
	}
	err := i.do(ctx, http.MethodPost, "/projects", map[string]any{
		"version": 1, "secrets": map[string]any{environment: folders},
	}, &project)
	i.project = project.ID
	return err
}

func (i *infisical) addToken(ctx context.Context, scopes servicetoken.Scopes) (string, error) {
	var made struct {
		Token string `json:"token"`
	}
	err := i.do(ctx, http.MethodPost, "/projects/"+i.project+"/tokens", map[string]any{"name": "bench", "scopes": scopes}, &made)
	return made.Token, err
}

// change gives all values of a source their next version.
func (i *infisical) change(ctx context.Context, w *world, source int) error {
	w.versions[source]++
	return i.do(ctx, http.MethodPut, "/projects/"+i.project+"/secrets", map[string]any{
		"environment": environment, "path": sourcePath(source), "values": w.values(source),
	}, nil)
}

func (i *infisical) setRateLimit(ctx context.Context, secrets, other int) error {
	return i.do(ctx, http.MethodPut, "/settings", map[string]any{"rateLimit": []int{secrets, other}}, nil)
}

func (i *infisical) resetLog(ctx context.Context) error {
	return i.do(ctx, http.MethodDelete, "/requests", nil, nil)
}

// requests is what the server was asked since the log was last reset.
func (i *infisical) requests(ctx context.Context) ([]devserver.Request, error) {
	var all []devserver.Request
	err := i.do(ctx, http.MethodGet, "/requests", nil, &all)
	return all, err
}

// counts are how often each token was used since the log was last reset, by its id.
func (i *infisical) counts(ctx context.Context) (map[string]int, error) {
	var answer struct {
		Counts []devserver.Count `json:"counts"`
	}
	if err := i.do(ctx, http.MethodGet, "/counts", nil, &answer); err != nil {
		return nil, err
	}
	byToken := map[string]int{}
	for _, c := range answer.Counts {
		byToken[c.TokenID] += c.Count
	}
	return byToken, nil
}

// isSource says whether a request asked for the secrets of a source, and of which path.
func isSource(r devserver.Request) (path string, ok bool) {
	if !strings.HasPrefix(r.Route, "/api/v3/secrets") {
		return "", false
	}
	query, err := url.ParseQuery(r.Query)
	return query.Get("secretPath"), err == nil
}

// sourcePolls are the times at which each source was asked for, by path.
func sourcePolls(requests []devserver.Request) map[string][]time.Time {
	polls := map[string][]time.Time{}
	for _, r := range requests {
		if path, ok := isSource(r); ok {
			polls[path] = append(polls[path], r.Time)
		}
	}
	return polls
}
