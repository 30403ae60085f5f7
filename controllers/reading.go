package controllers

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/compose"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// reading is what an object's sources come to.
type reading struct {
	token   *source.Token
	pending bool  // something is being read for the first time
	graced  bool  // or could not be, and that is not told yet
	err     error // why there is no data; it has a reason
	gone    bool  // err is that every source is confirmed not to exist
	data    map[string][]byte
	seen    time.Time // when the newest of the snapshots behind data was first read
}

// emptyError says that a source exists and holds nothing.
type emptyError struct{ place source.Place }

func (e *emptyError) Error() string {
	return fmt.Sprintf("%s exists and holds no secrets; set spec.allowEmpty if that is right", e.place)
}

// unspecifiedError says that an object without sources has a token that does not tell what to read.
type unspecifiedError struct{ token *source.Token }

func (e *unspecifiedError) Error() string {
	return fmt.Sprintf("spec.sources is needed, since the token does not have exactly one scope without a glob: %s", e.token.Scopes)
}

// read subscribes the object to what it reads, and composes its data as far as everything is there. References can lead to
// further places; those are subscribed to as they are found, and what is not read any more is left.
func (r *reconciler) read(obj *stv1.ServiceTokenSecret, owner source.Owner, cred source.Credential) reading {
	places := specPlaces(obj)
	known := r.pool.Read(owner, cred, obj.Spec.RefreshInterval.Duration, places...)
	if len(places) == 0 {
		switch {
		case source.Transient(known.TokenErr) && known.Token == nil && r.grace(obj) > 0:
			return reading{pending: true, graced: true}
		case known.TokenErr != nil:
			return reading{token: known.Token, err: known.TokenErr}
		case known.Token == nil:
			return reading{pending: true}
		}
		scope, ok := known.Token.Scopes.Sole()
		if !ok {
			return reading{token: known.Token, err: &unspecifiedError{known.Token}}
		}
		places = []source.Place{{Environment: scope.Environment, Path: cleanPath(scope.Path)}}
		known = r.pool.Read(owner, cred, obj.Spec.RefreshInterval.Duration, places...)
	}
	out := reading{token: known.Token}
	input := r.collect(&out, obj, places, known)
	if out.err != nil && obj.Generation != obj.Status.ObservedGeneration {
		r.pool.Keep(owner, placeSet(places)) // what the spec before asked for may take long to be left otherwise
	}
	if out.err != nil || out.pending {
		return out
	}
	read := placeSet(places)
	var whole bool
	out.data, whole, out.err = r.compose(&out, input, obj, owner, cred, read)
	out.pending = !whole && out.err == nil
	if whole {
		r.pool.Keep(owner, read)
	}
	return out
}

// saw notes what the data is made of.
func (r *reading) saw(s *source.Snapshot) {
	if s.At.After(r.seen) {
		r.seen = s.At
	}
}

// collect gathers what is known of the places into the input of compose, or into out why that is not all.
func (r *reconciler) collect(out *reading, obj *stv1.ServiceTokenSecret, places []source.Place, known source.Reading) compose.Input {
	input := compose.Input{
		KeyConflicts: compose.KeyConflicts(obj.Spec.KeyConflicts), Unresolved: compose.Unresolved(obj.Spec.UnresolvedReferences),
	}
	fail := func(err error) {
		if out.err == nil {
			out.err = err
		}
	}
	missing := 0
	for _, place := range places {
		result := known.Places[place]
		if is[*source.NotFoundError](result.Err) {
			missing++
		}
		switch {
		case source.Transient(result.Err) && result.Snapshot == nil && r.grace(obj) > 0:
			out.pending, out.graced = true, true
		case result.Err != nil:
			fail(result.Err)
		case result.Snapshot == nil:
			out.pending = true
		case result.Snapshot.Empty() && !obj.Spec.AllowEmpty:
			fail(&emptyError{place})
		default:
			out.saw(result.Snapshot)
			input.Sources = append(input.Sources, folder(result.Snapshot))
		}
	}
	out.gone = missing == len(places)
	if out.err != nil {
		out.pending, out.graced = false, false // what is known to be wrong need not wait for the rest
	}
	return input
}

// compose makes the data, reading what references lead to. It adds those places to read; whole says that they are all of them,
// which is not known while one of them cannot be read.
func (r *reconciler) compose(out *reading, input compose.Input, obj *stv1.ServiceTokenSecret, owner source.Owner, cred source.Credential, read map[source.Place]struct{}) (data map[string][]byte, whole bool, err error) {
	var failure error // of a place that a reference leads to, of the kind that heals by itself: no fault of the reference
	input.Lookup = func(at compose.Location) (compose.Folder, error) {
		place := source.Place{Environment: at.Environment, Path: at.Path}
		read[place] = struct{}{}
		result := r.pool.Read(owner, cred, obj.Spec.RefreshInterval.Duration, place).Places[place]
		switch {
		case source.Transient(result.Err):
			failure = result.Err
			return compose.Folder{}, compose.ErrPending
		case result.Err != nil:
			return compose.Folder{}, result.Err
		case result.Snapshot == nil:
			return compose.Folder{}, compose.ErrPending
		}
		out.saw(result.Snapshot)
		return folder(result.Snapshot), nil
	}
	output, err := compose.Compose(input)
	if is[*compose.PendingError](err) {
		return nil, false, failure
	}
	return output.Data, true, err
}

// folder is a snapshot as package compose wants it.
func folder(s *source.Snapshot) compose.Folder {
	f := compose.Folder{
		Location: compose.Location{Environment: s.Place.Environment, Path: s.Place.Path}, Recursive: s.Place.Recursive, Secrets: composeSecrets(s.Secrets),
	}
	for _, i := range s.Imports {
		f.Imports = append(f.Imports, compose.Import{
			Location: compose.Location{Environment: i.Environment, Path: i.Path}, Secrets: composeSecrets(i.Secrets),
		})
	}
	return f
}

func composeSecrets(in []source.Secret) []compose.Secret {
	out := make([]compose.Secret, len(in))
	for i, s := range in {
		out[i] = compose.Secret{Name: s.Name, Value: s.Value, Path: s.Path}
	}
	return out
}

// startGrace is how long a process that has just become the leader keeps to itself that the server does not answer or lets it wait,
// where status says that all is well: one lost packet, or a rate limit that the process before used up, is no reason to change ten
// thousand statuses twice. It is longer than a rate limit's window.
const startGrace = 90 * time.Second

// grace is how much of startGrace is left for an object that is Ready.
func (r *reconciler) grace(obj *stv1.ServiceTokenSecret) time.Duration {
	if ready := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady); ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != obj.Generation {
		return 0
	}
	return startGrace - r.clock.Since(r.started)
}

// specPlaces are the places that the object names, in order.
func specPlaces(obj *stv1.ServiceTokenSecret) []source.Place {
	places := make([]source.Place, 0, len(obj.Spec.Sources))
	for _, s := range obj.Spec.Sources {
		places = append(places, source.Place{Environment: s.Environment, Path: cleanPath(s.Path), Recursive: s.Recursive})
	}
	return places
}

func placeSet(places []source.Place) map[source.Place]struct{} {
	set := make(map[source.Place]struct{}, len(places))
	for _, p := range places {
		set[p] = struct{}{}
	}
	return set
}

// cleanPath drops a trailing slash, which the server ignores and scopes do not match.
func cleanPath(path string) string {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
		return trimmed
	}
	return "/"
}
