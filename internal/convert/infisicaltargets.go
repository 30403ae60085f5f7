package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// wantedTarget is a Secret or ConfigMap that Infisical's operator writes, of either of its kinds.
type wantedTarget struct {
	field, nameField, namespaceField string // of the input

	kind                                stv1.TargetKind
	name, namespace, secretType, policy string

	metadata *copiedMetadata   // nil: what the object itself carries is copied
	template map[string]string // by key
	only     bool              // only what templates make is written
	bulk     bool              // one template makes all keys
}

// with adds the template of an InfisicalSecret.
func (w wantedTarget) with(t *infisicalTemplate) wantedTarget {
	if t != nil {
		w.metadata, w.template, w.only = t.Metadata, t.Data, !t.IncludeAllSecrets
	}
	return w
}

// addTargets sets the targets. The resource is the other operator's, for commands.
func (d *draft) addTargets(wanted []wantedTarget, resource string) error {
	for _, w := range wanted {
		if err := d.from.checkName(w.field+"."+w.nameField, w.name); err != nil {
			return err
		}
		if w.policy != "" && w.policy != "Owner" && w.policy != "Orphan" {
			return d.from.bad(w.field+".creationPolicy", "is neither Owner nor Orphan")
		}
	}
	wanted = d.withoutNamesakes(wanted)
	if len(wanted) == 0 {
		d.differs(head, "The object has no target: here it is a Secret of the object's own name.")
	}
	var targets []stv1.Target
	for i, w := range wanted {
		at := spec.to("target")
		if len(wanted) > 1 {
			at = spec.to("targets").index(i)
		}
		targets = append(targets, d.infisicalTarget(at, w))
	}
	if len(targets) == 1 {
		d.result.Spec.Target = targets[0]
	} else {
		d.result.Spec.Targets = targets
	}
	// Their operator sets a reference when it makes a target and never takes it off; and it deletes what has one under another policy.
	d.adopt(departure{resource: resource, ties: `"ownerReferences":null`})
	return nil
}

// withoutNamesakes keeps one of several targets of one name, as all are in one namespace here: the one of the object's own namespace,
// otherwise the first.
func (d *draft) withoutNamesakes(wanted []wantedTarget) []wantedTarget {
	slot := map[string]int{}
	var kept []wantedTarget
	for _, w := range wanted {
		key := string(w.kind) + "/" + w.name
		i, taken := slot[key]
		if !taken {
			slot[key] = len(kept)
			kept = append(kept, w)
			continue
		}
		left := w
		if w.namespace == d.from.Metadata.Namespace && kept[i].namespace != w.namespace {
			kept[i], left = w, kept[i]
		}
		d.differs(spec.to("targets"), "%s is %s of namespace %s, and was left out: an object writes to its own namespace. For the same Secret in "+
			"several namespaces use a ClusterServiceTokenSecret.", left.field, printable(left.name), printable(left.namespace))
	}
	return kept
}

func (d *draft) infisicalTarget(at place, w wantedTarget) stv1.Target {
	t := stv1.Target{Name: w.name, CreationPolicy: stv1.CreationPolicyOrphan}
	if w.policy == "Owner" {
		t.CreationPolicy = "" // which is Owner here
	}
	if w.kind == stv1.TargetKindSecret && w.secretType != "Opaque" {
		t.Type = w.secretType
	}
	d.otherNamespace(at, w.field+"."+w.namespaceField, w.namespace, "the "+string(w.kind))
	d.copiedMetadata(at, &t, w)

	var read []string // keys that templates name
	complete := w.only
	if w.only || len(w.template) > 0 {
		t.Template = &stv1.Template{}
		if !w.only {
			t.Template.MergePolicy = stv1.MergePolicyMerge
		}
		if len(w.template) > 0 {
			d.differsOnce(at.to("template"), "A name that is not there is empty in the other operator's templates; here the template fails, and the "+
				"target stays as it is.")
		}
		for _, key := range sortedKeys(w.template) {
			made := d.template(at.to("template", "data", key), w.field+".template.data."+key, dialect{structs: true}, w.template[key])
			t.Template.Data = put(t.Template.Data, key, made.text)
			read = append(read, made.keys...)
			complete = complete && !made.whole && !made.invalid
		}
	}
	if w.bulk {
		t.Template.Data = map[string]string{placeholderKey: `{{ fail "write one template for each key" }}`}
		d.differs(at.to("template"), "%s.template.data is one template for all keys. Here each key has its own: until they are written, the target "+
			"stays as it is.", w.field)
		complete = false
	}
	if w.kind == stv1.TargetKindConfigMap {
		d.configMap(at, &t, sortedSet(read), complete)
	}
	return t
}

// configMap lists keys, which there must be some of: whoever can see the namespace can read a ConfigMap.
func (d *draft) configMap(at place, t *stv1.Target, read []string, complete bool) {
	t.Kind = stv1.TargetKindConfigMap
	data := d.result.Spec.Data
	switch {
	case len(data) == 1: // a single secret by name
		t.Keys = []string{data[0].Key}
	case complete && len(read) > 0:
		t.Keys = read
	default:
		t.Keys = []string{placeholderKey}
		d.differs(at.to("keys"), "A ConfigMap lists its keys here, since everybody may read it. Put the names of those that are no secrets in "+
			"place of %s; until then nothing is written.", placeholderKey)
	}
	d.note(at, "ConfigMaps need the operator's role for them (configMapTargets.enabled of the chart).")
}

// copiedMetadata sets the labels and annotations that the other operator puts on what it writes.
func (d *draft) copiedMetadata(at place, t *stv1.Target, w wantedTarget) {
	t.Labels, t.Annotations = d.from.Metadata.Labels, withoutSystem(d.from.Metadata.Annotations)
	if w.metadata != nil {
		t.Labels, t.Annotations = w.metadata.Labels, w.metadata.Annotations
	}
	t.Labels, t.Annotations = d.allowed(at, t.Labels, t.Annotations)
}

// allowed leaves out what the operator sets itself.
func (d *draft) allowed(at place, labels, annotations map[string]string) (map[string]string, map[string]string) {
	const managedBy, ours = "app.kubernetes.io/managed-by", "servicetoken.io/"
	labels, annotations = maps.Clone(labels), maps.Clone(annotations)
	if _, ok := labels[managedBy]; ok {
		delete(labels, managedBy)
		d.differsOnce(at, "The label "+managedBy+" was left out: the operator sets it.")
	}
	for _, name := range sortedKeys(annotations) {
		if strings.HasPrefix(name, ours) {
			delete(annotations, name)
			d.differsOnce(at, "The annotation "+printable(name)+" was left out: the operator sets those of servicetoken.io.")
		}
	}
	return labels, annotations
}

// template translates a template, and says what fails of it.
func (d *draft) template(at place, field string, l dialect, text string) translation {
	made := l.translate(text)
	const fails = "the template fails, and the target stays as it is, until that is replaced"
	switch {
	case made.invalid:
		d.differs(at, "%s does not parse as a template, and is as it was.", printable(field))
	case len(made.paths) > 0:
		d.differs(at, "%s: a template sees keys and values, and no paths: %s. Write the path as text: %s.", printable(field), listed(made.paths), fails)
	}
	if len(made.unknown) > 0 {
		d.differs(at, "%s calls what there is not here: %s. %s.", printable(field), listed(made.unknown), strings.ToUpper(fails[:1])+fails[1:])
	}
	if l.structs && made.together {
		d.differs(at, "%s uses all secrets as one value: here that is a map of texts, not of Value and SecretPath.", printable(field))
	}
	return made
}

// departure is how the other object goes without what it made.
type departure struct {
	resource string // of the object, for kubectl
	first    string // a merge patch of the object that comes before all else; not where its targets are somebody else's
	ties     string // what ties a target to the object: of a merge patch that takes it off, the fields of the metadata
}

// adopt says how to get rid of the other object without what it made, and then how to take that over. The references are taken off by
// hand, as there are versions of both operators that leave them to garbage collection. kubectl's --cascade=orphan does not help:
// Infisical's operator removes all finalizers of an object that is deleted, the one that this goes by too.
func (d *draft) adopt(from departure) {
	text := "From " + d.from.title() + "."
	if d.result.Spec.Suspend { // there is nothing to take over, and nobody else who writes
		d.comments[head] = append([]string{text}, d.comments[head]...)
		return
	}
	object := from.resource + " " + d.from.Metadata.Name + d.inNamespace()
	var release, allow []string
	for _, t := range d.targets() {
		if t.CreationPolicy == stv1.CreationPolicyMerge {
			continue // it is somebody else's, and stays so
		}
		name, kind := t.Name, "secret"
		if name == "" {
			name = d.result.Name
		}
		if t.Kind == stv1.TargetKindConfigMap {
			kind = "configmap"
		}
		made := kind + " " + name + d.inNamespace()
		release = append(release, fmt.Sprintf("\n  kubectl patch %s --type=merge -p '{\"metadata\":{%s}}'", made, from.ties))
		allow = append(allow, fmt.Sprintf("\n  kubectl annotate %s servicetoken.io/adopt=true", made))
	}
	if len(release) > 0 && from.first != "" {
		release = slices.Insert(release, 0, fmt.Sprintf("\n  kubectl patch %s --type=merge -p '%s'", object, from.first))
	}
	text += " First let the other object go: two that write one Secret undo each other's changes."
	if len(release) > 0 {
		text += " The order matters: what it still owns goes with it."
	}
	text += strings.Join(release, "") + "\n  kubectl delete " + object
	if len(allow) > 0 {
		text += "\nThen let this object take over what is there, without a write as long as the data is equal:" + strings.Join(allow, "")
	}
	d.comments[head] = append([]string{text}, d.comments[head]...)
}

// inNamespace is the flag for commands. Names were checked: they hold nothing that a shell would take for more.
func (d *draft) inNamespace() string {
	if d.from.Metadata.Namespace == "" {
		return ""
	}
	return " -n " + d.from.Metadata.Namespace
}

func put(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
