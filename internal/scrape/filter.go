// Package scrape decides who may read the operator's metrics: whom the API server knows by the bearer token of the request
// (TokenReview) and allows to do what the request does (SubjectAccessReview), which is a GET of the non-resource URL /metrics.
//
// It does what the filter of controller-runtime does, without the API server's own libraries, which that one brings along: they
// are 20 MB of the binary and 18 MiB of resident memory, more than everything that the operator keeps of a thousand objects.
// It keeps no token: what it remembers of an answer is filed under a digest.
package scrape

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// allowedFor and refusedFor are how long an answer is believed: a scraper that comes every 15 seconds is to cost the API server
	// a question a minute, and a role that was just granted is to act soon.
	allowedFor = time.Minute
	refusedFor = 10 * time.Second
	// remembered bounds how many answers are kept, whoever comes with however many tokens.
	remembered = 128
	// reviewTimeout limits the two questions of a request together.
	reviewTimeout = 10 * time.Second
)

// reviewer asks the API server who somebody is, and what they may do.
type reviewer struct {
	tokens  authenticationclient.TokenReviewInterface
	access  authorizationclient.SubjectAccessReviewInterface
	answers *cache.LRUExpireCache // question → status code
}

// question is what a request asks for. The zero token digest is never looked up.
type question struct {
	token      [sha256.Size]byte
	verb, path string
}

// Authorized is a FilterProvider of the metrics server. The operator needs to be allowed to create TokenReviews and
// SubjectAccessReviews.
func Authorized(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	tokens, err := authenticationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make the client of TokenReviews: %w", err)
	}
	access, err := authorizationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make the client of SubjectAccessReviews: %w", err)
	}
	return newReviewer(tokens.TokenReviews(), access.SubjectAccessReviews(), clock.RealClock{}).filter, nil
}

func newReviewer(tokens authenticationclient.TokenReviewInterface, access authorizationclient.SubjectAccessReviewInterface, c cache.Clock) *reviewer {
	return &reviewer{tokens: tokens, access: access, answers: cache.NewLRUExpireCacheWithClock(remembered, c)}
}

// filter lets through who may pass. Everybody else gets 401, 403, or 500 when the API server could not be asked.
func (r *reviewer) filter(log logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch status, err := r.judge(req); {
		case err != nil:
			log.Error(err, "asking the API server who may read metrics")
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		case status != http.StatusOK:
			http.Error(w, http.StatusText(status), status)
		default:
			next.ServeHTTP(w, req)
		}
	}), nil
}

// judge returns 200, 401 or 403.
func (r *reviewer) judge(req *http.Request) (status int, err error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(req.Header.Get("Authorization")), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return http.StatusUnauthorized, nil
	}
	asked := question{token: sha256.Sum256([]byte(token)), verb: strings.ToLower(req.Method), path: req.URL.Path}
	if known, ok := r.answers.Get(asked); ok {
		return known.(int), nil //nolint:forcetypeassert // it holds nothing else
	}
	ctx, cancel := context.WithTimeout(req.Context(), reviewTimeout)
	defer cancel()
	if status, err = r.review(ctx, token, asked); err != nil {
		return 0, err
	}
	life := refusedFor
	if status == http.StatusOK {
		life = allowedFor
	}
	r.answers.Add(asked, status, life)
	return status, nil
}

func (r *reviewer) review(ctx context.Context, token string, asked question) (status int, err error) {
	who, err := r.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		// Without the API server's own words, which may repeat what it was sent.
		if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
			return 0, fmt.Errorf("review a token: the API server answers %s", reason)
		}
		return 0, fmt.Errorf("review a token: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	may, err := r.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: asked.verb, Path: asked.path},
	}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return 0, fmt.Errorf("review what %s may do: %w", user.Username, err)
	case may.Status.Allowed && !may.Status.Denied:
		return http.StatusOK, nil
	default:
		return http.StatusForbidden, nil
	}
}
