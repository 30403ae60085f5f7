package devserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"
)

// Management returns a handler for everything under /dev/, with which another process does what the Go API does. Bodies
// are JSON, durations in them texts such as "90s"; what is wrong is answered with status 400 and {"error": …}:
//
//	POST   /dev/projects                            a Seed             → the project
//	GET    /dev/projects                                               → all projects
//	DELETE /dev/projects/<id>
//	POST   /dev/projects/<id>/environments          {slug}
//	PATCH  /dev/projects/<id>/environments/<slug>   {slug}               renames
//	DELETE /dev/projects/<id>/environments/<slug>
//	POST   /dev/projects/<id>/folders               {environment, path}
//	DELETE /dev/projects/<id>/folders               {environment, path}
//	PUT    /dev/projects/<id>/secrets               {environment, path, values: {name: value}, tags: [slug], duplicate: bool}
//	DELETE /dev/projects/<id>/secrets               {environment, path, names: [name]}
//	POST   /dev/projects/<id>/imports               an ImportSpec
//	POST   /dev/projects/<id>/webhooks              {url, secret}
//	POST   /dev/projects/<id>/migrate
//	POST   /dev/projects/<id>/tokens                a TokenSpec        → {token}
//	POST   /dev/projects/<id>/identities            an IdentitySpec    → {identityId, clientId, clientSecret}
//	POST   /dev/identities/<client id>/rotate                          → {clientSecret}; the one before is refused
//	DELETE /dev/identities/<client id>/tokens                            revokes its access tokens
//	DELETE /dev/tokens/<token or its id>                                 revokes
//	PUT    /dev/settings                            {latency, rateLimit: [secrets, other]}, either or both
//	PUT    /dev/faults                              a Fault
//	DELETE /dev/faults
//	GET    /dev/requests                                               → [Request]
//	DELETE /dev/requests                                                 resets the log and the counts
//	GET    /dev/counts?route=&token=                                   → {count, counts: [Count]}
func (s *Server) Management() http.Handler {
	mux := http.NewServeMux()
	s.manageProjects(mux)
	s.manageContent(mux)
	mux.Handle("DELETE /dev/tokens/{token}", does(func(r *http.Request, _ struct{}) (any, error) {
		s.Revoke(r.PathValue("token"))
		return nil, nil
	}))
	mux.Handle("POST /dev/identities/{client}/rotate", does(func(r *http.Request, _ struct{}) (any, error) {
		return struct {
			ClientSecret string `json:"clientSecret"`
		}{s.RotateClientSecret(r.PathValue("client"))}, nil
	}))
	mux.Handle("DELETE /dev/identities/{client}/tokens", does(func(r *http.Request, _ struct{}) (any, error) {
		s.RevokeAccessTokens(r.PathValue("client"))
		return nil, nil
	}))
	mux.Handle("PUT /dev/settings", does(func(_ *http.Request, in settings) (any, error) { return nil, in.apply(s) }))
	mux.Handle("PUT /dev/faults", does(func(_ *http.Request, in Fault) (any, error) {
		s.SetFault(in)
		return nil, nil
	}))
	mux.Handle("DELETE /dev/faults", does(func(*http.Request, struct{}) (any, error) {
		s.ClearFaults()
		return nil, nil
	}))
	mux.Handle("GET /dev/requests", does(func(*http.Request, struct{}) (any, error) { return s.Requests(), nil }))
	mux.Handle("DELETE /dev/requests", does(func(*http.Request, struct{}) (any, error) {
		s.ResetLog()
		return nil, nil
	}))
	mux.Handle("GET /dev/counts", does(func(r *http.Request, _ struct{}) (any, error) {
		return struct {
			Count  int     `json:"count"`
			Counts []Count `json:"counts"`
		}{s.Count(r.URL.Query().Get("route"), r.URL.Query().Get("token")), s.Counts()}, nil
	}))
	return mux
}

func (s *Server) manageProjects(mux *http.ServeMux) {
	mux.Handle("POST /dev/projects", does(func(_ *http.Request, in Seed) (any, error) {
		p, err := s.Load(in)
		if err != nil {
			return nil, err
		}
		return p.summary(), nil
	}))
	mux.Handle("GET /dev/projects", does(func(*http.Request, struct{}) (any, error) {
		s.mu.Lock()
		projects := slices.Clone(s.projects)
		s.mu.Unlock()
		all := []summary{}
		for _, p := range projects {
			all = append(all, p.summary())
		}
		return all, nil
	}))
	mux.Handle("DELETE /dev/projects/{id}", changes(s, func(p *Project, _ *http.Request, _ struct{}) any {
		s.RemoveProject(p)
		return nil
	}))
	mux.Handle("POST /dev/projects/{id}/migrate", changes(s, func(p *Project, _ *http.Request, _ struct{}) any {
		p.Migrate()
		return nil
	}))
	mux.Handle("POST /dev/projects/{id}/tokens", changes(s, func(p *Project, _ *http.Request, in TokenSpec) any {
		return struct {
			Token string `json:"token"`
		}{p.AddToken(in)}
	}))
	mux.Handle("POST /dev/projects/{id}/identities", changes(s, func(p *Project, _ *http.Request, in IdentitySpec) any { return p.AddIdentity(in) }))
}

func (s *Server) manageContent(mux *http.ServeMux) {
	mux.Handle("POST /dev/projects/{id}/environments", changes(s, func(p *Project, _ *http.Request, in environmentSpec) any {
		p.AddEnvironment(in.Slug)
		return nil
	}))
	mux.Handle("PATCH /dev/projects/{id}/environments/{slug}", changes(s, func(p *Project, r *http.Request, in environmentSpec) any {
		p.RenameEnvironment(r.PathValue("slug"), in.Slug)
		return nil
	}))
	mux.Handle("DELETE /dev/projects/{id}/environments/{slug}", changes(s, func(p *Project, r *http.Request, _ struct{}) any {
		p.DeleteEnvironment(r.PathValue("slug"))
		return nil
	}))
	mux.Handle("POST /dev/projects/{id}/folders", changes(s, func(p *Project, _ *http.Request, in place) any {
		p.AddFolder(in.Environment, in.Path)
		return nil
	}))
	mux.Handle("DELETE /dev/projects/{id}/folders", changes(s, func(p *Project, _ *http.Request, in place) any {
		p.DeleteFolder(in.Environment, in.Path)
		return nil
	}))
	mux.Handle("PUT /dev/projects/{id}/secrets", changes(s, func(p *Project, _ *http.Request, in secretsSpec) any {
		in.put(p)
		return nil
	}))
	mux.Handle("DELETE /dev/projects/{id}/secrets", changes(s, func(p *Project, _ *http.Request, in namesSpec) any {
		for _, name := range in.Names {
			p.Delete(in.Environment, in.Path, name)
		}
		return nil
	}))
	mux.Handle("POST /dev/projects/{id}/imports", changes(s, func(p *Project, _ *http.Request, in ImportSpec) any {
		p.AddImport(in.Environment, in.Path, in.FromEnvironment, in.FromPath)
		return nil
	}))
	mux.Handle("POST /dev/projects/{id}/webhooks", changes(s, func(p *Project, _ *http.Request, in webhookSpec) any {
		p.AddWebhook(in.URL, in.Secret)
		return nil
	}))
}

type (
	summary struct {
		ID      string   `json:"id"`
		Key     string   `json:"key"`
		Version int      `json:"version"`
		Tokens  []string `json:"tokens"`
	}
	environmentSpec struct {
		Slug string `json:"slug"`
	}
	place struct {
		Environment string `json:"environment"`
		Path        string `json:"path"`
	}
	namesSpec struct {
		place
		Names []string `json:"names"`
	}
	secretsSpec struct {
		place
		Values    map[string]string `json:"values"`
		Tags      []string          `json:"tags"`
		Duplicate bool              `json:"duplicate"`
	}
	webhookSpec struct {
		URL    string `json:"url"`
		Secret string `json:"secret"`
	}
	settings struct {
		Latency   *duration `json:"latency"`
		RateLimit []int     `json:"rateLimit"`
	}
)

func (p *Project) summary() summary {
	return summary{ID: p.ID(), Key: p.Key(), Version: p.Version(), Tokens: p.Tokens()}
}

func (in secretsSpec) put(p *Project) {
	for name, value := range in.Values {
		if in.Duplicate {
			p.PutDuplicate(in.Environment, in.Path, name, value)
		} else {
			p.Put(in.Environment, in.Path, name, value)
		}
		if in.Tags != nil {
			p.Tag(in.Environment, in.Path, name, in.Tags...)
		}
	}
}

func (in settings) apply(s *Server) error {
	if in.RateLimit != nil && len(in.RateLimit) != 2 {
		return errors.New("rateLimit has two numbers: for secrets and for other reads")
	}
	if in.Latency != nil {
		s.SetLatency(time.Duration(*in.Latency))
	}
	if in.RateLimit != nil {
		s.SetRateLimit(in.RateLimit[0], in.RateLimit[1])
	}
	return nil
}

// changes is does for what belongs to the project that the path names.
func changes[T any](s *Server, do func(*Project, *http.Request, T) any) http.Handler {
	return does(func(r *http.Request, in T) (any, error) {
		id := r.PathValue("id")
		s.mu.Lock()
		at := slices.IndexFunc(s.projects, func(p *Project) bool { return p.id == id })
		if at < 0 {
			s.mu.Unlock()
			return nil, wrong("there is no project %s", id)
		}
		p := s.projects[at]
		s.mu.Unlock()
		return do(p, r, in), nil
	})
}

// does makes a handler: the body goes in, if there is one, and what comes out is written, if there is something.
func does[T any](do func(*http.Request, T) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := func() (out any, err error) {
			defer func() { err = misused(recover(), err) }()
			var in T
			body, err := io.ReadAll(r.Body)
			if err == nil && len(body) > 0 {
				err = strictly(body, &in)
			}
			if err != nil {
				return nil, err
			}
			return do(r, in)
		}()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
			out = struct {
				Error string `json:"error"`
			}{err.Error()}
		case out == nil:
			out = struct{}{}
		}
		_ = json.NewEncoder(w).Encode(out) // the caller may have gone
	})
}
