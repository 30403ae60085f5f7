package devserver

import (
	"net/http"
	"strings"
	"time"
)

// Fault makes requests fail, slowly or badly. Its fields can be combined.
type Fault struct {
	Route       string        `json:"route"`       // which paths: those that start with it; "" is all
	Status      int           `json:"status"`      // answer this error at once, before anything is looked at
	RetryAfter  time.Duration `json:"-"`           // with Status: the header, in whole seconds
	Latency     time.Duration `json:"-"`           // wait first
	CutBody     bool          `json:"cutBody"`     // end the connection in the middle of the body
	CorruptBody bool          `json:"corruptBody"` // send a body that is no JSON
	WrongTag    bool          `json:"wrongTag"`    // change the tag of a secret's encrypted value
	SecretName  string        `json:"secretName"`  // with WrongTag: of this secret; "" is all
	Times       int           `json:"times"`       // this many requests; 0 is until cleared
}

// SetFault makes it so. It replaces an earlier fault of the same route; of several that match a request, the one with the
// longest route acts.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropFault(f.Route)
	s.faults = append(s.faults, &f)
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the fault that a request of this path meets: the zero Fault if none.
func (s *Server) takeFault(path string) Fault {
	var found *Fault
	for _, f := range s.faults {
		if strings.HasPrefix(path, f.Route) && (found == nil || len(f.Route) > len(found.Route)) {
			found = f
		}
	}
	if found == nil {
		return Fault{}
	}
	fault := *found
	if found.Times == 1 {
		s.dropFault(found.Route)
	} else if found.Times > 1 {
		found.Times--
	}
	return fault
}

func (s *Server) dropFault(route string) {
	kept := s.faults[:0]
	for _, f := range s.faults {
		if f.Route != route {
			kept = append(kept, f)
		}
	}
	s.faults = kept
}

// answer is an error of the fault's status, worded as the server words that status most often.
func (f Fault) answer(c *call) *answer {
	switch f.Status {
	case http.StatusUnauthorized:
		return failure(f.Status, "UnauthorizedError", "Invalid service token")
	case http.StatusForbidden:
		return notAllowed("read", "secrets")
	case http.StatusNotFound:
		return noRoute(c.request)
	case http.StatusTooManyRequests:
		return failure(f.Status, "RateLimitExceeded", "Rate limit exceeded. Please try again in 1 minute")
	default:
		return failure(f.Status, "InternalServerError", "Something went wrong")
	}
}

// spoil breaks an answer's JSON. The ETag is another then, so that no client is told that it has this already.
func (f Fault) spoil(a *answer) *answer {
	if !f.CorruptBody {
		return a
	}
	return &answer{status: a.status, etag: `"corrupt"`, body: append([]byte(`{"secrets":[}`), a.body...)}
}

func (f Fault) announce(h http.Header) {
	if f.RetryAfter > 0 {
		h.Set("Retry-After", seconds(f.RetryAfter))
	}
}

// spoils says whether the tag of a secret's value is to be wrong.
func (f Fault) spoils(name string) bool {
	return f.WrongTag && (f.SecretName == "" || f.SecretName == name)
}
