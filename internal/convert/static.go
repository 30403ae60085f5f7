package convert

import (
	"encoding/json"
	"slices"
	"strconv"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// The fields of an InfisicalStaticSecret and of what it refers to. Only those of the former are known all, as the latter are not
// converted themselves.
type (
	staticSecret struct {
		Spec struct {
			InfisicalAuthRef namespacedName `json:"infisicalAuthRef"`
			SyncOptions      struct {
				RefreshInterval string `json:"refreshInterval"`
				InstantUpdates  bool   `json:"instantUpdates"`
			} `json:"syncOptions"`
			Sources []staticSource `json:"sources"`
			Targets []staticTarget `json:"targets"`
		} `json:"spec"`
	}

	staticSource struct {
		ProjectID       string   `json:"projectId"`
		ProjectSlug     string   `json:"projectSlug"`
		EnvironmentSlug string   `json:"environmentSlug"`
		SecretPath      string   `json:"secretPath"`
		TagSlugs        []string `json:"tagSlugs"`
		Recursive       bool     `json:"recursive"`
	}

	staticTarget struct {
		Name           string          `json:"name"`
		Namespace      string          `json:"namespace"`
		Kind           string          `json:"kind"`
		SecretType     string          `json:"secretType"`
		CreationPolicy string          `json:"creationPolicy"`
		Metadata       *copiedMetadata `json:"metadata"`
		Template       *struct {
			EngineVersion string          `json:"engineVersion"`
			Data          json.RawMessage `json:"data"` // a map of templates, or one template
		} `json:"template"`
	}

	infisicalAuth struct {
		Spec struct {
			InfisicalConnectionRef namespacedName `json:"infisicalConnectionRef"`
		} `json:"spec"`
	}

	infisicalConnection struct {
		Spec struct {
			Address string       `json:"address"`
			Host    string       `json:"host"` // in older versions
			TLS     infisicalTLS `json:"tls"`
		} `json:"spec"`
	}

	namespacedName struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	}
)

func (p *peers) staticSecret(o object) (*draft, string, error) {
	var from staticSecret
	unknown, err := o.decodeStrict(&from)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, "", err
	}
	d := newDraft(o)
	d.connection(p, from.Spec.InfisicalAuthRef)
	if from.Spec.SyncOptions.InstantUpdates {
		d.differs(spec.to("refreshInterval"), "spec.syncOptions.instantUpdates: not here. A change arrives with the next poll.")
	}
	if field, text := "spec.syncOptions.refreshInterval", from.Spec.SyncOptions.RefreshInterval; text != "" {
		wanted, ok := infisicalDuration(text)
		if !ok {
			return nil, "", o.bad(field, "is not an interval such as 60s, 5m, 1h, 1d or 1w")
		}
		d.interval(field, wanted)
	}
	d.staticSources(from.Spec.Sources)
	targets, err := d.staticTargets(from.Spec.Targets)
	if err == nil {
		err = d.addTargets(targets, "infisicalstaticsecrets."+infisicalGroup)
	}
	if err != nil {
		return nil, "", err
	}
	d.reload(p.reloaded)
	d.unknown(unknown)
	return d, "", nil
}

// connection follows the references to the server's address, as far as they are among the input.
func (d *draft) connection(p *peers, ref namespacedName) {
	d.missingToken("InfisicalAuth "+printable(ref.Name), "")
	auth, ok := lookup(p, p.auths, "InfisicalAuth", ref.Namespace, ref.Name)
	if !ok {
		d.differs(spec.to("hostURL"), "InfisicalAuth %s is not among the input. Its InfisicalConnection says which server: set hostURL and tls, unless "+
			"it is the operator's own.", printable(ref.Name))
		return
	}
	at := auth.Spec.InfisicalConnectionRef
	connection, ok := lookup(p, p.connections, "InfisicalConnection", at.Namespace, at.Name)
	switch {
	case at.Name == "": // the operator's own, here as there
	case !ok:
		d.differs(spec.to("hostURL"), "InfisicalConnection %s is not among the input. It says which server: set hostURL and tls, unless it is the "+
			"operator's own.", printable(at.Name))
	default:
		address := connection.Spec.Address
		if address == "" {
			address = connection.Spec.Host
		}
		d.server("InfisicalConnection "+printable(at.Name)+": spec.address", address)
		d.ca("InfisicalConnection "+printable(at.Name)+": spec.tls", connection.Spec.TLS)
	}
}

// staticSources turns their order round: there the first one that has a key wins, here the last.
func (d *draft) staticSources(sources []staticSource) {
	project := func(s staticSource) string { return s.ProjectID + s.ProjectSlug }
	for i, s := range slices.Backward(sources) {
		if project(s) != project(sources[0]) {
			d.differs(spec.to("sources"), "spec.sources[%d] is of another project than spec.sources[0] and was left out: a token is of one project. "+
				"Write it with another object, which has creationPolicy: Merge.", i)
			continue
		}
		d.addSource(stv1.Source{
			Environment: s.EnvironmentSlug, Path: folder(s.SecretPath), Recursive: s.Recursive, Tags: sortedSet(s.TagSlugs),
		})
	}
	if len(sources) > 0 {
		d.missing.project = project(sources[0])
	}
	if len(d.result.Spec.Sources) > 1 {
		d.differs(spec.to("sources"), "In spec.sources the first source with a key wins, here the last, so that they are in reverse order. Imported "+
			"secrets count as those of the folder that imports them; there, they come after all others.")
	}
}

func (d *draft) staticTargets(targets []staticTarget) ([]wantedTarget, error) {
	var all []wantedTarget
	for i, t := range targets {
		w := wantedTarget{
			field: "spec.targets[" + strconv.Itoa(i) + "]", nameField: "name", namespaceField: "namespace", kind: stv1.TargetKind(t.Kind),
			name: t.Name, namespace: t.Namespace, secretType: t.SecretType, policy: t.CreationPolicy, metadata: t.Metadata,
		}
		if w.kind != stv1.TargetKindSecret && w.kind != stv1.TargetKindConfigMap {
			return nil, d.from.bad(w.field+".kind", "is neither Secret nor ConfigMap")
		}
		if t.Template != nil {
			w.only = true
			var one string
			switch {
			case json.Unmarshal(t.Template.Data, &w.template) == nil:
			case json.Unmarshal(t.Template.Data, &one) == nil:
				w.template, w.bulk = nil, true
			default:
				return nil, d.from.bad(w.field+".template.data", "has a wrong type: a map of texts is expected, or a text")
			}
		}
		all = append(all, w)
	}
	return all, nil
}
