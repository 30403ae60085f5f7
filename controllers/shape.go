package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/template"
)

// shape is what a target is to hold, wherever it is.
type shape struct {
	data                map[string][]byte
	labels, annotations map[string]string
}

// unreadKeyError says that a target lists keys that were not read.
type unreadKeyError struct {
	target stv1.TargetReference
	keys   []string
}

func (e *unreadKeyError) Error() string {
	return fmt.Sprintf("%s %s lists keys that nothing was read for: %s", e.target.Kind, e.target.Name, strings.Join(e.keys, ", "))
}

// shape makes what one of the subject's targets is to hold of the data that was read.
func (r *reconciler) shape(ctx context.Context, s *subject, t *stv1.Target, data map[string][]byte) (shape, error) {
	out := shape{data: data, labels: t.Labels, annotations: t.Annotations}
	if len(t.Keys) > 0 {
		out.data = make(map[string][]byte, len(t.Keys))
		var unread []string
		for _, key := range t.Keys {
			value, ok := data[key]
			if !ok {
				unread = append(unread, key)
			}
			out.data[key] = value
		}
		if len(unread) > 0 {
			return shape{}, &unreadKeyError{referenceOf(s.ServiceTokenSecret, t), unread}
		}
	}
	if t.Template == nil {
		return out, nil
	}
	return r.render(ctx, s, t, out)
}

// render makes keys, labels and annotations by the target's templates, all of them at once, as the limits are for all: an object has its
// work rationed, however many targets it has.
func (r *reconciler) render(ctx context.Context, s *subject, t *stv1.Target, plain shape) (shape, error) {
	files, err := r.inputs.templates(ctx, s.home(), t.Template.TemplateFrom)
	if err != nil {
		return shape{}, err
	}
	maps.Copy(files, t.Template.Data)
	out := shape{data: map[string][]byte{}, labels: maps.Clone(plain.labels), annotations: maps.Clone(plain.annotations)}
	if t.Template.MergePolicy == stv1.MergePolicyMerge {
		maps.Copy(out.data, plain.data)
	}
	var templates []template.Template
	var put []func(text []byte)
	for _, key := range slices.Sorted(maps.Keys(files)) {
		templates = append(templates, template.Template{Name: "data[" + key + "]", Text: files[key]})
		put = append(put, func(text []byte) { out.data[key] = text })
	}
	for _, meta := range []struct {
		field string
		from  map[string]string
		to    *map[string]string
	}{{"labels", t.Template.Labels, &out.labels}, {"annotations", t.Template.Annotations, &out.annotations}} {
		for _, name := range slices.Sorted(maps.Keys(meta.from)) {
			templates = append(templates, template.Template{Name: meta.field + "[" + name + "]", Text: meta.from[name]})
			put = append(put, func(text []byte) {
				if *meta.to == nil {
					*meta.to = map[string]string{}
				}
				(*meta.to)[name] = string(text)
			})
		}
	}
	texts, err := template.Render(plain.data, templates, template.Limits{MaxSteps: template.DefaultMaxSteps / len(targetsOf(s.ServiceTokenSecret))})
	if err != nil {
		ref := referenceOf(s.ServiceTokenSecret, t)
		return shape{}, fmt.Errorf("template of %s %s: %w", ref.Kind, ref.Name, err)
	}
	for i, text := range texts {
		put[i](text)
	}
	return out, nil
}
