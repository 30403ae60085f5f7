package devserver

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxSegment is how many characters a parameter in a path may have. The web framework takes a longer one for another route.
const maxSegment = 100

// route is one entry of the API. A GET has its parameters in the query, all others have them in a JSON body.
type route struct {
	method   string
	template string // segments that start with a colon are parameters
	secrets  bool   // counts toward the limit for secrets, not the one for other reads
	newer    bool   // only on servers that have v4
	login    bool   // without Authorization
	params   []param
	answer   func(*Server, *call) *answer
}

var routes = []route{
	{method: http.MethodGet, template: "/api/v2/service-token", answer: (*Server).showToken},
	{method: http.MethodGet, template: "/api/v1/workspace/:workspaceId", answer: (*Server).showProject},
	{method: http.MethodGet, template: "/api/v2/workspace/:slug", answer: (*Server).showProjectBySlug},
	{
		method: http.MethodPost, template: "/api/v1/auth/universal-auth/login", login: true, answer: (*Server).universalAuth,
		params: []param{{name: "clientId", required: true}, {name: "clientSecret", required: true}},
	},
	{
		method: http.MethodPost, template: "/api/v1/auth/kubernetes-auth/login", login: true, answer: (*Server).kubernetesAuth,
		params: []param{{name: "identityId", required: true}, {name: "jwt", required: true}},
	},
	{
		method: http.MethodGet, template: "/api/v1/secret-imports", answer: (*Server).listImports,
		params: []param{{name: "workspaceId", required: true}, {name: "environment", required: true}, {name: "path", path: true}},
	},
	{
		method: http.MethodGet, template: "/api/v3/secrets", secrets: true, answer: (*Server).listSealed,
		params: []param{
			{name: "workspaceId", required: true}, {name: "environment", required: true}, {name: "secretPath", path: true},
			flag("recursive", "false"), flag("include_imports", "false"),
		},
	},
	{
		method: http.MethodGet, template: "/api/v3/secrets/raw", secrets: true, answer: (*Server).listRaw,
		params: []param{
			{name: "workspaceId"}, {name: "workspaceSlug"}, {name: "environment"}, {name: "secretPath", path: true},
			flag("expandSecretReferences", "false"),
			flag("recursive", "false"), flag("include_imports", "false"), {name: "tagSlugs"},
		},
	},
	{
		method: http.MethodGet, template: "/api/v4/secrets", secrets: true, newer: true, answer: (*Server).listV4,
		params: []param{
			{name: "projectId"}, {name: "environment"}, {name: "secretPath", path: true}, flag("viewSecretValue", "true"),
			flag("expandSecretReferences", "false"), flag("recursive", "false"), flag("include_imports", "false"),
			{name: "tagSlugs"},
		},
	},
	{method: http.MethodPost, template: sealedWrite, params: sealedParams(true), answer: write{creating, true}.answer},
	{method: http.MethodPatch, template: sealedWrite, params: sealedParams(false), answer: write{updating, true}.answer},
	{method: http.MethodDelete, template: sealedWrite, params: writeParams, answer: write{deleting, true}.answer},
	{method: http.MethodPost, template: rawWrite, params: rawParams, answer: write{creating, false}.answer},
	{method: http.MethodPatch, template: rawWrite, params: rawParams, answer: write{updating, false}.answer},
	{method: http.MethodDelete, template: rawWrite, params: writeParams, answer: write{deleting, false}.answer},
}

// call is one request on its way through the stages; each stage fills in what the next ones need.
type call struct {
	request *http.Request
	route   *route            // nil when there is none
	segment map[string]string // the template's parameters
	fault   Fault
	token   *token // nil until authenticated
	caller  string // what a login names
	window  window
	query   map[string]string
}

func (s *Server) newCall(r *http.Request) *call {
	c := &call{request: r}
	for i := range routes {
		if segment, ok := routes[i].match(r); ok && (s.newer || !routes[i].newer) {
			c.route, c.segment = &routes[i], segment
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.fault = s.takeFault(r.URL.Path)
	return c
}

// match finds the parameters in the path. A slash in one of them is encoded.
func (e *route) match(r *http.Request) (map[string]string, bool) {
	if r.Method != e.method {
		return nil, false
	}
	template, path := strings.Split(e.template, "/"), strings.Split(strings.TrimSuffix(r.URL.EscapedPath(), "/"), "/")
	if len(template) != len(path) {
		return nil, false
	}
	var segment map[string]string
	for i, t := range template {
		text, err := url.PathUnescape(path[i])
		name, ok := strings.CutPrefix(t, ":")
		if err != nil || ok && utf8.RuneCountInString(text) > maxSegment || !ok && t != text {
			return nil, false
		}
		if ok {
			if segment == nil {
				segment = map[string]string{}
			}
			segment[name] = text
		}
	}
	return segment, true
}

// template names the route in the log; a request without one is logged with its path.
func (c *call) template() string {
	if c.route == nil {
		return c.request.URL.Path
	}
	return c.route.template
}

// address is the client's, which proxies hand on in a header that the server believes.
func (c *call) address() string {
	if ip := c.request.Header.Get("X-Real-IP"); ip != "" {
		return ip
	}
	if ips := c.request.Header.Get("X-Forwarded-For"); ips != "" {
		first, _, _ := strings.Cut(ips, ",")
		return strings.TrimSpace(first)
	}
	host, _, err := net.SplitHostPort(c.request.RemoteAddr)
	if err != nil {
		return c.request.RemoteAddr
	}
	return host
}
