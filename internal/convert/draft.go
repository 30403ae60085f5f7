package convert

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

const (
	// placeholderSecret is the Secret that a service token is expected in where the other operator had none.
	placeholderSecret = "infisical-token"
	// placeholder stands where the input does not say what is needed. It is no environment and no key, so that nothing is
	// written before it is replaced.
	placeholder = "replace-me"
	// placeholderKey is the same for a key whose name is a name in templates as well.
	placeholderKey = "REPLACE_ME"

	defaultInterval = time.Minute     // of a ServiceTokenSecret
	minInterval     = 5 * time.Second // of a ServiceTokenSecret

	reloadAnnotation = "secrets.infisical.com/auto-reload"
)

// systemPrefixes are those of annotations that Infisical's operator does not copy to what it makes.
var systemPrefixes = []string{"kubectl.kubernetes.io/", "kubernetes.io/", "k8s.io/", "helm.sh/"}

// draft is a ServiceTokenSecret that is being made, and what there is to say of it.
type draft struct {
	from     object
	result   stv1.ServiceTokenSecret
	missing  *missingToken // where the input has no service token
	comments map[place][]string

	differences []string
}

// place is where a comment stands: the names and indexes that lead to a field of the result.
type place string

// head is the beginning of the document.
const head place = ""

var spec = head.to("spec")

const step = "\x00" // keys may hold anything else

func (p place) to(names ...string) place {
	for _, name := range names {
		p += place(step + name)
	}
	return p
}

func (p place) index(i int) place { return p.to(fmt.Sprint(i)) }

func (p place) parent() place { return p[:max(0, strings.LastIndex(string(p), step))] }

// newDraft takes over what identifies the object, and what others than the two operators read of it.
func newDraft(o object) *draft {
	d := &draft{from: o, comments: map[place][]string{}}
	d.result.TypeMeta = metav1.TypeMeta{APIVersion: stv1.GroupVersion.String(), Kind: "ServiceTokenSecret"}
	d.result.ObjectMeta = metav1.ObjectMeta{
		Name: o.Metadata.Name, Namespace: o.Metadata.Namespace,
		Labels: maps.Clone(o.Metadata.Labels), Annotations: withoutSystem(o.Metadata.Annotations),
	}
	return d
}

// withoutSystem leaves out annotations of tools about the manifest that they were given: they would be wrong on another object.
func withoutSystem(annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	maps.DeleteFunc(out, func(name, _ string) bool {
		return slices.ContainsFunc(systemPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

// note says something that is no difference.
func (d *draft) note(at place, format string, args ...any) {
	d.comments[at] = append(d.comments[at], fmt.Sprintf(format, args...))
}

// differs says what differs, and what to do.
func (d *draft) differs(at place, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.note(at, "%s", text)
	d.differences = append(d.differences, strings.Join(strings.Fields(text), " "))
}

// differsOnce is for what is the same in each target.
func (d *draft) differsOnce(at place, text string) {
	if !slices.Contains(d.differences, text) {
		d.differs(at, "%s", text)
	}
}

// unknown says which fields of the input were not looked at.
func (d *draft) unknown(fields []string) {
	for _, field := range fields {
		d.differs(head, "%s is not known here and was left out.", printable(field))
	}
}

// token sets the Secret with the token.
func (d *draft) token(name, key string) {
	d.result.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: name, Key: key}}
}

// missingToken says that there is no service token yet, but another way to authenticate, at a project if it is known.
func (d *draft) missingToken(instead, project string) {
	d.missing = &missingToken{instead, project}
}

type missingToken struct{ instead, project string }

// settleToken puts a Secret that is not there yet in the place of another way to authenticate. It comes last, as it must not be one of
// the targets.
func (d *draft) settleToken() {
	if d.missing == nil {
		return
	}
	name := placeholderSecret
	for _, t := range d.targets() {
		if t.Kind != stv1.TargetKindConfigMap && (t.Name == name || t.Name == "" && d.result.Name == name) {
			name = "token-of-" + d.result.Name
		}
	}
	d.token(name, "")
	of := ""
	if d.missing.project != "" {
		of = " for the project " + printable(d.missing.project)
	}
	d.differs(spec.to("auth"), "%s is no service token. Make one in Infisical%s that reads what this object reads, and put it into a Secret:\n"+
		"  kubectl create secret generic %s%s --from-file=token=FILE", d.missing.instead, of, name, d.inNamespace())
}

// targets returns the targets, whether there is one or several.
func (d *draft) targets() []*stv1.Target {
	if len(d.result.Spec.Targets) == 0 {
		return []*stv1.Target{&d.result.Spec.Target}
	}
	var all []*stv1.Target
	for i := range d.result.Spec.Targets {
		all = append(all, &d.result.Spec.Targets[i])
	}
	return all
}

// interval sets how often to look. The field is that of the input.
func (d *draft) interval(field string, wanted time.Duration) {
	at := spec.to("refreshInterval")
	if wanted < minInterval {
		d.differs(at, "%s is shorter than 5s, which is the shortest interval here.", field)
		wanted = minInterval
	}
	if wanted != defaultInterval {
		d.result.Spec.RefreshInterval = metav1.Duration{Duration: wanted}
	}
}

// addSource adds a place to read. Two that are taken whole must not be the same folder, which is what one of them says then.
func (d *draft) addSource(s stv1.Source) {
	whole := func(s stv1.Source) bool {
		return len(s.Tags) == 0 && len(s.Include) == 0 && len(s.Exclude) == 0 && len(s.Rename) == 0
	}
	for i, other := range d.result.Spec.Sources {
		if reflect.DeepEqual(other, s) {
			return
		}
		if whole(other) && whole(s) && other.Environment == s.Environment && other.Path == s.Path {
			d.result.Spec.Sources[i].Recursive = true // one of them is: they are not equal
			return
		}
	}
	d.result.Spec.Sources = append(d.result.Spec.Sources, s)
}

// nextSource returns the place of the source that is added next.
func (d *draft) nextSource() place { return spec.to("sources").index(len(d.result.Spec.Sources)) }

// folder leaves out the path that is the default.
func folder(path string) string {
	if path = strings.TrimRight(path, "/"); path == "" {
		return ""
	}
	return "/" + strings.TrimLeft(path, "/")
}

// otherNamespace says what follows from a namespace that the other operator was given. What is the object's own is no difference.
func (d *draft) otherNamespace(at place, field, namespace, what string) {
	own := d.from.Metadata.Namespace
	switch {
	case namespace == "" || namespace == own:
	case own == "":
		d.differs(at, "%s is %s, and this manifest has no namespace: here %s is in the object's namespace, so apply it to that one.",
			field, printable(namespace), what)
	default:
		d.differs(at, "%s is %s: here %s is in the object's namespace, %s. Put it there, or use a ClusterServiceTokenSecret.",
			field, printable(namespace), what, printable(own))
	}
}
