package controllers

import (
	"fmt"
	"time"

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
	skipped []string  // names that are no valid keys, and that the object does not want to fail for
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
	wishes, err := wishesOf(&obj.Spec)
	if err != nil {
		return reading{err: err}
	}
	known := r.pool.Read(owner, cred, obj.Spec.RefreshInterval.Duration, placesOf(wishes)...)
	if needsScope(wishes) {
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
		wishes = inScope(wishes, scope)
		known = r.pool.Read(owner, cred, obj.Spec.RefreshInterval.Duration, placesOf(wishes)...)
	}
	out := reading{token: known.Token}
	input := r.collect(&out, obj, wishes, known)
	places := placeSet(placesOf(wishes))
	if out.err != nil && obj.Generation != obj.Status.ObservedGeneration {
		r.pool.Keep(owner, places) // what the spec before asked for may take long to be left otherwise
	}
	if out.err != nil || out.pending {
		return out
	}
	if whole := r.compose(&out, input, obj, owner, cred, places); whole {
		r.pool.Keep(owner, places)
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
func (r *reconciler) collect(out *reading, obj *stv1.ServiceTokenSecret, wishes []wish, known source.Reading) compose.Input {
	input := compose.Input{
		KeyConflicts: compose.KeyConflicts(obj.Spec.KeyConflicts), Unresolved: compose.Unresolved(obj.Spec.UnresolvedReferences),
		InvalidKeys: compose.InvalidKeys(obj.Spec.InvalidKeys), AllowEmpty: obj.Spec.AllowEmpty,
	}
	fail := func(err error) {
		if out.err == nil {
			out.err = err
		}
	}
	missing := 0
	for _, w := range wishes {
		result := known.Places[w.Place]
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
			fail(&emptyError{w.Place})
		default:
			out.saw(result.Snapshot)
			input.Sources = append(input.Sources, compose.Source{Folder: folder(result.Snapshot), Selection: w.Selection})
		}
	}
	out.gone = missing == len(wishes)
	if out.err != nil {
		out.pending, out.graced = false, false // what is known to be wrong need not wait for the rest
	}
	return input
}

// compose makes the data, reading what references lead to. It adds those places to read; whole says that they are all of them,
// which is not known while one of them cannot be read.
func (r *reconciler) compose(out *reading, input compose.Input, obj *stv1.ServiceTokenSecret, owner source.Owner, cred source.Credential, read map[source.Place]struct{}) (whole bool) {
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
		out.err = failure
		out.pending = failure == nil
		return false
	}
	out.data, out.skipped, out.err = output.Data, output.Skipped, err
	return true
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
		out[i] = compose.Secret{Name: s.Name, Value: s.Value, Path: s.Path, Tags: s.Tags}
	}
	return out
}

// startGrace is how long a process that has just become the leader keeps to itself that the server does not answer or lets it wait,
// where status says that all is well: one lost packet, or a rate limit that the process before used up, is no reason to change ten
// thousand statuses twice. It is longer than a rate limit's window.
const startGrace = 90 * time.Second

// grace is how much of startGrace is left for an object that is Ready.
func (r *reconciler) grace(obj *stv1.ServiceTokenSecret) time.Duration {
	return grace(obj.Status.Conditions, obj.Generation, r.started, r.clock)
}

func placeSet(places []source.Place) map[source.Place]struct{} {
	set := make(map[source.Place]struct{}, len(places))
	for _, p := range places {
		set[p] = struct{}{}
	}
	return set
}
