package devserver

import (
	"strings"
	"time"
)

// keptRequests bounds the log of a server that runs for hours; counts are not bounded.
const keptRequests = 100_000

// Request is one line of the log.
type Request struct {
	Time          time.Time `json:"time"`
	Method        string    `json:"method"`
	Route         string    `json:"route"` // its template, such as /api/v1/workspace/:workspaceId; the path where there is none
	Query         string    `json:"query"` // as it came
	TokenID       string    `json:"tokenID"`
	Status        int       `json:"status"`
	Authorization string    `json:"authorization"` // as it came, for the test that a token's key is never sent
	IfNoneMatch   string    `json:"ifNoneMatch"`
	UserAgent     string    `json:"userAgent"`
}

// Count is how often a token used a route.
type Count struct {
	Route   string `json:"route"`
	TokenID string `json:"tokenID"`
	Count   int    `json:"count"`
}

type requestLog struct {
	requests []Request
	counts   map[counted]int
}

type counted struct{ route, tokenID string }

// Requests returns what was asked since the start or ResetLog, oldest first: the last 100,000 of it at most.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.log.requests
	return append([]Request{}, all[max(0, len(all)-keptRequests):]...)
}

// Count says how often a route was asked with a token, whatever the answer was. An empty route or token id is any.
func (s *Server) Count(route, tokenID string) int {
	total := 0
	for _, c := range s.Counts() {
		if (route == "" || route == c.Route) && (tokenID == "" || tokenID == c.TokenID) {
			total += c.Count
		}
	}
	return total
}

// Counts returns all counts, in no order.
func (s *Server) Counts() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make([]Count, 0, len(s.log.counts))
	for key, n := range s.log.counts {
		counts = append(counts, Count{key.route, key.tokenID, n})
	}
	return counts
}

// ResetLog forgets all requests and counts.
func (s *Server) ResetLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = requestLog{}
}

func (s *Server) record(c *call, status int) {
	r := Request{
		Time: s.clock.Now(), Method: c.request.Method, Route: c.template(), Query: c.request.URL.RawQuery, TokenID: c.tokenID(), Status: status,
		Authorization: c.request.Header.Get("Authorization"), IfNoneMatch: strings.Join(c.request.Header.Values("If-None-Match"), ", "),
		UserAgent: c.request.UserAgent(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log.counts == nil {
		s.log.counts = map[counted]int{}
	}
	s.log.counts[counted{r.Route, r.TokenID}]++
	if len(s.log.requests) == 2*keptRequests {
		s.log.requests = append([]Request(nil), s.log.requests[keptRequests:]...)
	}
	s.log.requests = append(s.log.requests, r)
}
