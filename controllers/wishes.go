package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/compose"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// wish is a place that an object reads, and what it takes of it. Without an environment the place is the token's only scope.
type wish struct {
	source.Place
	compose.Selection
}

// specError says that something in a spec is not what it should be, which the API server could not know.
type specError struct {
	field string
	err   error
}

func (e *specError) Error() string { return e.field + ": " + e.err.Error() }
func (e *specError) Unwrap() error { return e.err }

// wishesOf are what a spec asks for, in the order of precedence: its sources, and after them the folders of its single secrets.
func wishesOf(spec *stv1.ServiceTokenSecretSpec) ([]wish, error) {
	if len(spec.Sources) == 0 && len(spec.Data) == 0 {
		return []wish{{}}, nil
	}
	wishes := make([]wish, 0, len(spec.Sources))
	for i := range spec.Sources {
		s := &spec.Sources[i]
		selection, err := selectionOf(s)
		if err != nil {
			return nil, &specError{fmt.Sprintf("spec.sources[%d].%s", i, err.field), err.err}
		}
		place := source.Place{Environment: s.Environment, Path: cleanPath(s.Path), Recursive: s.Recursive}
		wishes = append(wishes, wish{place, selection})
	}
	first := wish{}
	if len(wishes) > 0 {
		first = wishes[0]
	}
	single := len(wishes)
	for _, entry := range spec.Data {
		place := source.Place{Environment: first.Environment, Path: first.Path}
		if entry.Environment != "" {
			place = source.Place{Environment: entry.Environment, Path: "/"}
		}
		if entry.Path != "" {
			place.Path = cleanPath(entry.Path)
		}
		at := slices.IndexFunc(wishes[single:], func(w wish) bool { return w.Place == place })
		if at < 0 {
			at = len(wishes) - single
			wishes = append(wishes, wish{Place: place})
		}
		w := &wishes[single+at]
		w.Only = append(w.Only, compose.Entry{Key: entry.Key, Name: cmp.Or(entry.Name, entry.Key)})
	}
	return wishes, nil
}

func selectionOf(s *stv1.Source) (compose.Selection, *specError) {
	selection := compose.Selection{Tags: s.Tags}
	for _, list := range []struct {
		field    string
		patterns []stv1.NamePattern
		to       *[]compose.Pattern
	}{{"include", s.Include, &selection.Include}, {"exclude", s.Exclude, &selection.Exclude}} {
		for i, p := range list.patterns {
			pattern, err := compose.Glob(p.Glob)
			if p.Regexp != "" {
				pattern, err = compose.Regexp(p.Regexp)
			}
			if err != nil {
				return selection, &specError{fmt.Sprintf("%s[%d]", list.field, i), err}
			}
			*list.to = append(*list.to, pattern)
		}
	}
	for i, step := range s.Rename {
		renaming, err := renamingOf(step)
		if err != nil {
			return selection, &specError{fmt.Sprintf("rename[%d]", i), err}
		}
		selection.Rename = append(selection.Rename, renaming)
	}
	return selection, nil
}

func renamingOf(step stv1.RenameStep) (compose.Renaming, error) {
	switch {
	case step.Prefix != "":
		return compose.Prefix(step.Prefix), nil
	case step.Suffix != "":
		return compose.Suffix(step.Suffix), nil
	case step.Case != "":
		return compose.Case(string(step.Case))
	default:
		return compose.Replace(step.Regexp.Source, step.Regexp.Target)
	}
}

// needsScope says whether a place is left to the token's only scope.
func needsScope(wishes []wish) bool {
	return slices.ContainsFunc(wishes, func(w wish) bool { return w.Environment == "" })
}

// inScope are the wishes with the scope where a place was left to it. A single secret may still name its own path.
func inScope(wishes []wish, scope servicetoken.Scope) []wish {
	wishes = slices.Clone(wishes)
	for i := range wishes {
		if wishes[i].Environment == "" {
			wishes[i].Environment = scope.Environment
			wishes[i].Path = cmp.Or(wishes[i].Path, cleanPath(scope.Path))
		}
	}
	return wishes
}

// placesOf are the places of the wishes, those aside that are still left to the token's scope.
func placesOf(wishes []wish) []source.Place {
	places := make([]source.Place, 0, len(wishes))
	for _, w := range wishes {
		if w.Environment != "" && !slices.Contains(places, w.Place) {
			places = append(places, w.Place)
		}
	}
	return places
}

// specPlaces are the places that the object names, in order, for the log.
func specPlaces(obj *stv1.ServiceTokenSecret) []source.Place {
	wishes, err := wishesOf(&obj.Spec)
	if err != nil {
		return nil
	}
	return placesOf(wishes)
}

// cleanPath drops a trailing slash, which the server ignores and scopes do not match.
func cleanPath(path string) string {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
		return trimmed
	}
	return "/"
}
