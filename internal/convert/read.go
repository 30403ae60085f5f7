package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
	strictjson "sigs.k8s.io/json"
)

// object is one manifest of the input.
type object struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`

	document int             // of the input, from 1
	path     string          // within the document, for an item of a list
	raw      json.RawMessage // all of it
}

// metadata is what is of use of an object's metadata.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// identity is by which others refer to an object.
type identity struct{ kind, namespace, name string }

func (o object) id() identity { return identity{o.Kind, o.Metadata.Namespace, o.Metadata.Name} }

func (o object) title() string {
	if o.Kind == "" {
		return fmt.Sprintf("document %d, which has no kind", o.document)
	}
	return printable(o.Kind) + "/" + printable(o.Metadata.Name)
}

func (o object) group() string {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	return group
}

// field puts the place of the object in its document before the name of a field.
func (o object) field(name string) string {
	return strings.TrimPrefix(strings.TrimSuffix(o.path+"."+name, "."), ".")
}

// read reads all documents, and takes lists apart.
func read(in io.Reader) ([]object, error) {
	// The decoder looks this far ahead to see whether the input is JSON; it does not limit a document.
	const lookAhead = 4096
	decoder := yaml.NewYAMLOrJSONDecoder(in, lookAhead)
	var all []object
	for number := 1; ; number++ {
		var raw json.RawMessage
		switch err := decoder.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, syntaxError(number, err)
		}
		objects, err := unpack(object{document: number, raw: raw})
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
}

// syntaxError tells a failing reader, whose error is handed on, from a document that is none.
func syntaxError(document int, err error) error {
	var syntax yaml.YAMLSyntaxError
	var text yaml.JSONSyntaxError
	switch {
	case errors.As(err, &syntax):
		return &DocumentError{Document: document, Why: "is not YAML" + line(err.Error())}
	case errors.As(err, &text), errors.Is(err, io.ErrUnexpectedEOF):
		return &DocumentError{Document: document, Why: "is not JSON"}
	}
	return fmt.Errorf("read document %d: %w", document, err)
}

// line takes the number of the line from a message of the YAML library, and nothing else: it may repeat the text there.
func line(message string) string {
	_, rest, found := strings.Cut(message, "line ")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); found && end > 0 {
		return ": line " + rest[:end]
	}
	return ""
}

// unpack reads the head of an object; of a list, the objects in it. Documents with nothing in them are none.
func unpack(o object) ([]object, error) {
	if text := strings.TrimSpace(string(o.raw)); text == "" || text == "null" {
		return nil, nil
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(o.raw, &o); err != nil {
		return nil, o.typeError(err)
	}
	if !strings.HasSuffix(o.Kind, "List") {
		return []object{o}, nil
	}
	if err := json.Unmarshal(o.raw, &list); err != nil {
		return nil, o.typeError(err)
	}
	var all []object
	for i, raw := range list.Items {
		objects, err := unpack(object{document: o.document, path: o.field(fmt.Sprintf("items[%d]", i)), raw: raw})
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

// decode reads the spec into a pointer to a struct with a field Spec. Fields that it does not have are ignored.
func (o object) decode(into any) error {
	_, err := o.decodeStrict(into)
	return err
}

// decodeStrict returns the fields of the spec, and those beside it, that the struct does not have.
func (o object) decodeStrict(into any) (unknown []string, err error) {
	strict, err := strictjson.UnmarshalStrict(o.raw, into, strictjson.DisallowUnknownFields)
	if err != nil {
		// Only encoding/json's own error can be asked for the field.
		return nil, o.typeError(json.Unmarshal(o.raw, into))
	}
	for _, e := range strict {
		var field strictjson.FieldError
		if !errors.As(e, &field) {
			continue
		}
		switch name, _, _ := strings.Cut(field.FieldPath(), "."); name {
		case "apiVersion", "kind", "metadata", "status":
		default:
			unknown = append(unknown, field.FieldPath())
		}
	}
	return unknown, nil
}

// checkName refuses what cannot be the name of an object: it would be refused later, and comments hold commands with names.
func (o object) checkName(field, name string) error {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return o.bad(field, "is not a name: lower-case letters, digits, - and .")
	}
	return nil
}

// check does so with the object's own name and namespace.
func (o object) check() error {
	if err := o.checkName("metadata.name", o.Metadata.Name); err != nil {
		return err
	}
	if ns := o.Metadata.Namespace; ns != "" && len(validation.IsDNS1123Label(ns)) > 0 {
		return o.bad("metadata.namespace", "is not a name: lower-case letters, digits and -")
	}
	return nil
}
