package convert

import (
	"time"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// The fields of an ExternalSecret, as of External Secrets' v1; v1beta1 has the same.
type (
	externalSecret struct {
		Spec externalSpec `json:"spec"`
	}

	externalSpec struct {
		SecretStoreRef  storeReference `json:"secretStoreRef"`
		Target          externalTarget `json:"target"`
		RefreshPolicy   string         `json:"refreshPolicy"`
		RefreshInterval string         `json:"refreshInterval"`
		Data            []externalData `json:"data"`
		DataFrom        []externalFrom `json:"dataFrom"`
	}

	storeReference struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
	}

	externalTarget struct {
		Name           string            `json:"name"`
		CreationPolicy string            `json:"creationPolicy"`
		DeletionPolicy string            `json:"deletionPolicy"`
		Immutable      bool              `json:"immutable"`
		Template       *externalTemplate `json:"template"`
	}

	externalTemplate struct {
		Type          string `json:"type"`
		EngineVersion string `json:"engineVersion"`
		Metadata      struct {
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
			Finalizers  []string          `json:"finalizers"`
		} `json:"metadata"`
		MergePolicy  string                 `json:"mergePolicy"`
		Data         map[string]string      `json:"data"`
		TemplateFrom []externalTemplateFrom `json:"templateFrom"`
	}

	externalTemplateFrom struct {
		ConfigMap *externalTemplates `json:"configMap"`
		Secret    *externalTemplates `json:"secret"`
		Target    string             `json:"target"`
		Literal   *string            `json:"literal"`
	}

	externalTemplates struct {
		Name  string `json:"name"`
		Items []struct {
			Key        string `json:"key"`
			TemplateAs string `json:"templateAs"`
		} `json:"items"`
	}

	externalData struct {
		SecretKey string             `json:"secretKey"`
		RemoteRef externalRef        `json:"remoteRef"`
		SourceRef *externalSourceRef `json:"sourceRef"`
	}

	externalRef struct {
		Key                string `json:"key"`
		Property           string `json:"property"`
		Version            string `json:"version"`
		MetadataPolicy     string `json:"metadataPolicy"`
		ConversionStrategy string `json:"conversionStrategy"`
		DecodingStrategy   string `json:"decodingStrategy"`
		NullBytePolicy     any    `json:"nullBytePolicy"`
	}

	externalSourceRef struct {
		StoreRef     *storeReference `json:"storeRef"`
		GeneratorRef any             `json:"generatorRef"`
	}

	externalFrom struct {
		Extract   *externalRef       `json:"extract"`
		Find      *externalFind      `json:"find"`
		Rewrite   []externalRewrite  `json:"rewrite"`
		SourceRef *externalSourceRef `json:"sourceRef"`
	}

	externalFind struct {
		Path *string `json:"path"`
		Name *struct {
			RegExp string `json:"regexp"`
		} `json:"name"`
		Tags               map[string]string `json:"tags"`
		ConversionStrategy string            `json:"conversionStrategy"`
		DecodingStrategy   string            `json:"decodingStrategy"`
		NullBytePolicy     any               `json:"nullBytePolicy"`
	}

	externalRewrite struct {
		Regexp *struct {
			Source string `json:"source"`
			Target string `json:"target"`
		} `json:"regexp"`
		Transform *struct {
			Template string `json:"template"`
		} `json:"transform"`
		Merge any `json:"merge"`
	}
)

// external is the conversion of one ExternalSecret.
type external struct {
	*draft
	peers *peers
	spec  externalSpec
	main  externalStore // of spec.secretStoreRef

	// made has expressions for the keys whose values are made of what is read: decoded, or a property of a JSON value.
	made map[string]func(data string) string
}

func (p *peers) externalSecret(o object) (*draft, string, error) {
	var from externalSecret
	unknown, err := o.decodeStrict(&from)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, "", err
	}
	e := &external{draft: newDraft(o), peers: p, spec: from.Spec, made: map[string]func(string) string{}}
	e.main = e.mainStore()
	if e.main.otherProvider {
		return nil, "its store " + e.main.title + " is not an Infisical one", nil
	}
	e.connect()
	if err := e.refresh(); err != nil {
		return nil, "", err
	}
	e.findings()
	e.entries()
	e.unknownPlaces()
	if err := e.setTarget(); err != nil {
		return nil, "", err
	}
	e.unknown(unknown)
	return e.draft, "", nil
}

// connect sets the server and says that a token is missing. External Secrets has a default for the server, which is written down: the
// operator's own default may be another one.
func (e *external) connect() {
	provider := e.main.provider
	e.missingToken("The authentication of "+e.main.title, "")
	if provider == nil {
		e.differs(spec, "%s is not among the input. It decides which server, project, environment and path are read: convert it together with "+
			"this object, or set hostURL, tls and sources yourself.", e.main.title)
		return
	}
	e.missing.project = provider.SecretsScope.ProjectSlug
	host := provider.HostAPI
	if host == "" {
		host = "https://app.infisical.com/api"
	}
	e.server(e.main.title+": spec.provider.infisical.hostAPI", host)
	if ca := provider.CAProvider; ca != nil {
		e.bundle(ca.Type, ca.Name, ca.Key)
		e.otherNamespace(spec.to("tls"), e.main.title+": spec.provider.infisical.caProvider.namespace", ca.Namespace, "the "+printable(ca.Type)+" "+printable(ca.Name))
	} else if provider.CABundle != "" {
		e.bundle("ConfigMap", "infisical-ca", "")
		e.differs(spec.to("tls"), "%s: spec.provider.infisical.caBundle: put the certificates, decoded, into the key ca.crt of a ConfigMap infisical-ca "+
			"in the object's namespace.", e.main.title)
	}
	if expand := provider.SecretsScope.ExpandSecretReferences; expand != nil && !*expand {
		e.differs(spec.to("sources"), "%s: spec.provider.infisical.secretsScope.expandSecretReferences is false: here ${…} in values "+
			"is always resolved.", e.main.title)
	}
}

// refresh sets how often to look: every hour where nothing is said.
func (e *external) refresh() error {
	const field = "spec.refreshInterval"
	wanted := time.Hour
	if e.spec.RefreshInterval != "" {
		var err error
		if wanted, err = time.ParseDuration(e.spec.RefreshInterval); err != nil {
			return e.from.bad(field, "is not a duration such as 1h or 10m")
		}
	}
	at := spec.to("refreshInterval")
	if policy := e.spec.RefreshPolicy; policy != "" && policy != "Periodic" {
		e.differs(at, "spec.refreshPolicy: %s is not here: changes are always followed. Set suspend: true once the Secret is there to leave it as it is.",
			printable(policy))
	}
	if wanted <= 0 {
		e.differs(at, "%s: 0 reads once, which is not here: changes are always followed. Set suspend: true once the Secret is there to leave it as it is.", field)
		wanted = time.Hour
	}
	e.interval(field, wanted)
	return nil
}

// setTarget comes last: its templates depend on what is read.
func (e *external) setTarget() error {
	from, at := e.spec.Target, spec.to("target")
	if from.Name != "" {
		if err := e.from.checkName("spec.target.name", from.Name); err != nil {
			return err
		}
	}
	t := stv1.Target{Name: from.Name, Immutable: from.Immutable}
	switch from.CreationPolicy {
	case "", "Owner":
	case "Orphan", "Merge":
		t.CreationPolicy = stv1.CreationPolicy(from.CreationPolicy)
	case "CreateOrMerge":
		t.CreationPolicy = stv1.CreationPolicyMerge
		e.differs(at.to("creationPolicy"), "spec.target.creationPolicy: CreateOrMerge makes a Secret that is not there, which Merge waits for.")
	case "None":
		e.result.Spec.Suspend = true
		e.differs(spec.to("suspend"), "spec.target.creationPolicy: None writes no Secret: this object is suspended.")
	default:
		return e.from.bad("spec.target.creationPolicy", "is none of Owner, Orphan, Merge, CreateOrMerge and None")
	}
	switch from.DeletionPolicy {
	case "", "Retain":
	case "Delete":
		t.DeletionPolicy = stv1.DeletionPolicyDelete
		e.differs(at.to("deletionPolicy"), "The Secret is deleted when the environment or folder is gone, not when secrets in it are.")
	case "Merge":
		e.differs(at.to("deletionPolicy"), "spec.target.deletionPolicy: Merge: a key that is gone at the server is always removed.")
	default:
		return e.from.bad("spec.target.deletionPolicy", "is none of Retain, Delete and Merge")
	}
	if t.Immutable && t.CreationPolicy == stv1.CreationPolicyMerge {
		t.Immutable = false
		e.differs(at, "spec.target.immutable was left out: with creationPolicy Merge the Secret is somebody else's.")
	}
	e.templates(at, &t)
	e.result.Spec.Target = t
	e.adopt(departure{
		resource: "externalsecrets." + externalGroup,
		first:    `{"spec":{"target":{"creationPolicy":"Orphan","deletionPolicy":"Retain"}}}`, // else the reference is put back
		// By the label their operator finds what to delete when an ExternalSecret of this name has another target.
		ties: `"ownerReferences":null,"labels":{"reconcile.external-secrets.io/created-by":null}`,
	})
	return nil
}
