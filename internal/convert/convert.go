// Package convert turns manifests of two other operators into manifests of ServiceTokenSecrets: InfisicalSecret and
// InfisicalStaticSecret of Infisical's own operator, and ExternalSecret of External Secrets where its store is an Infisical one.
//
// It is text in and text out. It knows no cluster and no server, resolves no reference, and prints nothing of a Secret that
// happens to be in the input. What cannot be said in a ServiceTokenSecret is said in a comment above the place where one would
// look for it: what was different, and what to do. Where leaving something out would take a key from a Secret in use, the
// output holds a template that fails until it is edited, since a failing template leaves the Secret as it was.
package convert

import (
	"fmt"
	"io"
	"slices"
)

// Result is what became of an input.
type Result struct {
	Documents []Document // in the order of the input
	// Skipped names, as Kind/name, what was not converted: other kinds, and objects whose store is not Infisical, with the
	// reason after a colon. Stores, connections and authentications that a Document was made with are not among them.
	Skipped []string
}

// Document is one ServiceTokenSecret.
type Document struct {
	From string // kind/name of what it was made of
	// YAML is the manifest with its comments, without a --- at its beginning.
	YAML []byte
	// Differences are the comments that tell of something which differs or was left out, as one line each. They name fields
	// and objects, never values. Comments that hold for every object, such as how to adopt a Secret, are not among them.
	Differences []string
}

// Convert reads manifests, YAML or JSON, one or several documents, lists included, and converts what it knows. Anything that
// cannot be read is a *DocumentError.
func Convert(in io.Reader) (Result, error) {
	objects, err := read(in)
	if err != nil {
		return Result{}, err
	}
	peers, err := gather(objects)
	if err != nil {
		return Result{}, err
	}
	var result Result
	skipped := make([]string, len(objects))
	for i, o := range objects {
		convert := peers.converter(o)
		if convert == nil {
			skipped[i] = o.title()
			continue
		}
		draft, why, err := convert(o)
		if err != nil {
			return Result{}, err
		}
		if why != "" {
			skipped[i] = o.title() + ": " + why
			continue
		}
		document, err := draft.document()
		if err != nil {
			return Result{}, err
		}
		result.Documents = append(result.Documents, document)
	}
	for i, o := range objects { // only now it is known what was used
		if skipped[i] != "" && !peers.used[o.id()] {
			result.Skipped = append(result.Skipped, skipped[i])
		}
	}
	return result, nil
}

// Write writes the documents as one YAML stream.
func (r Result) Write(w io.Writer) error {
	for i, d := range r.Documents {
		text := d.YAML
		if i > 0 {
			text = slices.Concat([]byte("---\n"), text)
		}
		if _, err := w.Write(text); err != nil {
			return fmt.Errorf("write %s: %w", d.From, err)
		}
	}
	return nil
}

// The groups of the kinds that are known here.
const (
	infisicalGroup = "secrets.infisical.com"
	externalGroup  = "external-secrets.io"
)

// peers is what the input holds besides the objects to convert, and what they need to know of it.
type peers struct {
	stores      map[identity]*infisicalProvider // of SecretStores and ClusterSecretStores
	otherStores map[identity]bool               // those of other providers
	auths       map[identity]*infisicalAuth
	connections map[identity]*infisicalConnection
	reloaded    []object          // workloads with Infisical's annotation, which are restarted when a Secret changes
	used        map[identity]bool // what an object was converted with
}

// gather reads what others refer to before any of them is converted: a store may follow its ExternalSecret.
func gather(objects []object) (*peers, error) {
	p := &peers{
		stores: map[identity]*infisicalProvider{}, otherStores: map[identity]bool{}, auths: map[identity]*infisicalAuth{},
		connections: map[identity]*infisicalConnection{}, used: map[identity]bool{},
	}
	for _, o := range objects {
		var err error
		switch {
		case o.group() == externalGroup && (o.Kind == "SecretStore" || o.Kind == "ClusterSecretStore"):
			var store secretStore
			err = o.decode(&store)
			if provider := store.Spec.Provider.Infisical; provider != nil {
				p.stores[o.id()] = provider
			} else {
				p.otherStores[o.id()] = true
			}
		case o.group() == infisicalGroup && o.Kind == "InfisicalAuth":
			var auth infisicalAuth
			err = o.decode(&auth)
			p.auths[o.id()] = &auth
		case o.group() == infisicalGroup && o.Kind == "InfisicalConnection":
			var connection infisicalConnection
			err = o.decode(&connection)
			p.connections[o.id()] = &connection
		case o.Metadata.Annotations[reloadAnnotation] == "true":
			p.reloaded = append(p.reloaded, o)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// converter returns what converts an object, nil for one that is not converted. The converter returns why the object is skipped
// all the same, if it is.
func (p *peers) converter(o object) func(object) (*draft, string, error) {
	switch o.APIVersion + " " + o.Kind {
	case infisicalGroup + "/v1alpha1 InfisicalSecret":
		return p.infisicalSecret
	case infisicalGroup + "/v1beta1 InfisicalStaticSecret":
		return p.staticSecret
	case externalGroup + "/v1 ExternalSecret", externalGroup + "/v1beta1 ExternalSecret":
		return p.externalSecret
	}
	return nil
}

// lookup finds what a reference means, and notes that it was used. A manifest need not say its namespace, so that one without is taken
// for any; the one that says exactly this namespace wins, then the first by name.
func lookup[T any](p *peers, among map[identity]T, kind, namespace, name string) (found T, ok bool) {
	best := identity{}
	for id := range among {
		if id.kind != kind || id.name != name || id.namespace != namespace && id.namespace != "" && namespace != "" {
			continue
		}
		if !ok || id.namespace == namespace || best.namespace != namespace && id.namespace < best.namespace {
			best, ok = id, true
		}
	}
	if ok {
		p.used[best] = true
	}
	return among[best], ok
}
