package convert

import (
	"slices"
	"strconv"
	"strings"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// templates sets the template, and the labels and annotations. Without a template External Secrets copies those of the object.
func (e *external) templates(at place, t *stv1.Target) {
	from := e.spec.Target.Template
	if from == nil {
		t.Labels, t.Annotations = e.allowed(at, e.from.Metadata.Labels, withoutSystem(e.from.Metadata.Annotations))
		if len(e.made) > 0 {
			t.Template = &stv1.Template{MergePolicy: stv1.MergePolicyMerge}
			e.makeKeys(t.Template)
		}
		return
	}
	if from.Type != "" && from.Type != "Opaque" {
		t.Type = from.Type
	}
	if from.EngineVersion == "v1" {
		e.differs(at.to("template"), "spec.target.template.engineVersion: v1 is not here: its functions have other names. Look at each template.")
	}
	if len(from.Metadata.Finalizers) > 0 {
		e.differs(at, "spec.target.template.metadata.finalizers is not here.")
	}
	out := &stv1.Template{}
	e.templatesFrom(at.to("template", "templateFrom"), out, from.TemplateFrom)
	for _, key := range sortedKeys(from.Data) {
		text := e.template(at.to("template", "data", key), "spec.target.template.data."+key, dialect{instead: e.made}, from.Data[key]).text
		out.Data = put(out.Data, key, text)
	}
	if !e.replaces() {
		out.MergePolicy = stv1.MergePolicyMerge
		e.makeKeys(out)
	}
	e.templateMetadata(at, t, out)
	if e.replaces() || len(out.Data)+len(out.TemplateFrom)+len(out.Labels)+len(out.Annotations) > 0 {
		t.Template = out
	}
}

// replaces says whether only what templates make is written. A template that makes no key leaves all of them as they are there; here
// Replace would write none.
func (e *external) replaces() bool {
	t := e.spec.Target.Template
	return t != nil && t.MergePolicy != "Merge" && len(t.Data)+len(t.TemplateFrom) > 0
}

// makeKeys adds templates for keys that are made of what is read, but where the user's templates make them.
func (e *external) makeKeys(t *stv1.Template) {
	for _, key := range sortedKeys(e.made) {
		if _, ok := t.Data[key]; !ok {
			t.Data = put(t.Data, key, "{{ "+inner(e.made[key]("."))+" }}")
		}
	}
}

// inner takes the parentheses off that an expression needs only within another one.
func inner(expression string) string {
	return strings.TrimSuffix(strings.TrimPrefix(expression, "("), ")")
}

// templateMetadata tells templates from texts, which External Secrets has in one place.
func (e *external) templateMetadata(at place, t *stv1.Target, out *stv1.Template) {
	metadata := e.spec.Target.Template.Metadata
	labels, annotations := e.allowed(at, metadata.Labels, metadata.Annotations)
	for _, m := range []struct {
		name  string
		from  map[string]string
		plain *map[string]string
		made  *map[string]string
	}{
		{"labels", labels, &t.Labels, &out.Labels},
		{"annotations", annotations, &t.Annotations, &out.Annotations},
	} {
		for _, key := range sortedKeys(m.from) {
			text := m.from[key]
			if !strings.Contains(text, "{{") {
				*m.plain = put(*m.plain, key, text)
				continue
			}
			field := "spec.target.template.metadata." + m.name + "." + key
			text = e.template(at.to("template", m.name, key), field, dialect{instead: e.made}, text).text
			*m.made = put(*m.made, key, text)
		}
	}
}

// templatesFrom takes over templates for values that lie in ConfigMaps.
func (e *external) templatesFrom(at place, out *stv1.Template, from []externalTemplateFrom) {
	for i, f := range from {
		field := "spec.target.template.templateFrom[" + strconv.Itoa(i) + "]"
		switch {
		case f.ConfigMap == nil:
			e.differs(at, "%s was left out: templates lie in ConfigMaps, or in template.data.", field)
			continue
		case f.Target != "" && f.Target != "Data":
			e.differs(at, "%s was left out: its target is %s. Labels and annotations have templates of their own: template.labels, template.annotations.",
				field, printable(f.Target))
			continue
		}
		source := stv1.ConfigMapTemplates{Name: f.ConfigMap.Name}
		for _, item := range f.ConfigMap.Items {
			if item.TemplateAs == "KeysAndValues" {
				e.differs(at, "%s: the key %s was left out, as templateAs: KeysAndValues is not here. Write one template for each key.",
					field, printable(item.Key))
				continue
			}
			if !slices.Contains(source.Items, stv1.TemplateItem{Key: item.Key}) {
				source.Items = append(source.Items, stv1.TemplateItem{Key: item.Key})
			}
		}
		if len(source.Items) == 0 && len(f.ConfigMap.Items) > 0 {
			continue
		}
		out.TemplateFrom = append(out.TemplateFrom, stv1.TemplateSource{ConfigMap: source})
		if made := slices.DeleteFunc(sortedKeys(e.made), func(key string) bool { return !e.keyTaken(key) }); len(made) > 0 {
			e.differs(at, "%s: the templates in ConfigMap %s see these values as they are at the server, not decoded and not a property of them: %s. "+
				"Write it there: {{ .KEY | b64dec }}, {{ (.KEY | fromJson).property }}.", field, printable(f.ConfigMap.Name), listed(made))
		}
	}
}
