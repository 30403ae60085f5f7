package convert

// The fields of a store that say what is read. Others, such as retries and conditions, do not matter here.
type (
	secretStore struct {
		Spec struct {
			Provider struct {
				Infisical *infisicalProvider `json:"infisical"`
			} `json:"provider"`
		} `json:"spec"`
	}

	infisicalProvider struct {
		HostAPI      string `json:"hostAPI"`
		CABundle     string `json:"caBundle"`
		SecretsScope struct {
			ProjectSlug            string `json:"projectSlug"`
			EnvironmentSlug        string `json:"environmentSlug"`
			SecretsPath            string `json:"secretsPath"`
			Recursive              bool   `json:"recursive"`
			ExpandSecretReferences *bool  `json:"expandSecretReferences"`
		} `json:"secretsScope"`
		CAProvider *struct {
			Type      string `json:"type"`
			Name      string `json:"name"`
			Key       string `json:"key"`
			Namespace string `json:"namespace"`
		} `json:"caProvider"`
	}
)

// externalStore is what is known of a store.
type externalStore struct {
	title         string             // SecretStore/name
	provider      *infisicalProvider // nil where the store is not among the input, or of another provider
	otherProvider bool
}

// mainStore is the store of the object, which may be named only at its entries.
func (e *external) mainStore() externalStore {
	refs := []storeReference{e.spec.SecretStoreRef}
	for _, ref := range e.sourceRefs() {
		if ref != nil && ref.StoreRef != nil {
			refs = append(refs, *ref.StoreRef)
		}
	}
	for _, ref := range refs {
		if ref.Name != "" {
			return e.store(ref)
		}
	}
	return externalStore{title: "The SecretStore"}
}

func (e *external) sourceRefs() (refs []*externalSourceRef) {
	for _, from := range e.spec.DataFrom {
		refs = append(refs, from.SourceRef)
	}
	for _, d := range e.spec.Data {
		refs = append(refs, d.SourceRef)
	}
	return refs
}

func (e *external) store(ref storeReference) externalStore {
	kind, namespace := ref.Kind, e.from.Metadata.Namespace
	if kind == "" {
		kind = "SecretStore"
	}
	if kind == "ClusterSecretStore" {
		namespace = ""
	}
	s := externalStore{title: printable(kind) + "/" + printable(ref.Name)}
	var found bool
	if s.provider, found = lookup(e.peers, e.peers.stores, kind, namespace, ref.Name); !found {
		s.otherProvider = e.peers.otherStores[identity{kind, namespace, ref.Name}] || e.peers.otherStores[identity{kind, "", ref.Name}]
	}
	return s
}

// environment and path are where the store reads. The environment is empty where nobody knows.
func (s externalStore) environment() string {
	if s.provider == nil {
		return ""
	}
	return s.provider.SecretsScope.EnvironmentSlug
}

func (s externalStore) path() string {
	if s.provider == nil {
		return ""
	}
	return folder(s.provider.SecretsScope.SecretsPath)
}

// sourceOf returns the store of an entry, which may have one of its own. It returns false for what cannot be read with the token of
// the others.
func (e *external) sourceOf(at place, field string, ref *externalSourceRef) (externalStore, bool) {
	switch {
	case ref == nil:
		return e.main, true
	case ref.GeneratorRef != nil:
		e.differs(at.parent(), "%s.sourceRef.generatorRef was left out: there are no generators here. Make another ExternalSecret for it, with another target.", field)
		return externalStore{}, false
	case ref.StoreRef == nil:
		return e.main, true
	}
	s := e.store(*ref.StoreRef)
	switch a, b := e.main.provider, s.provider; {
	case s.otherProvider:
		e.differs(at.parent(), "%s was left out: its store %s is not an Infisical one. Make another ExternalSecret for it, with another target.", field, s.title)
		return s, false
	case b == nil:
		e.differs(at, "%s: its store %s is not among the input. It decides which environment and path are read.", field, s.title)
	case a != nil && (a.HostAPI != b.HostAPI || a.SecretsScope.ProjectSlug != b.SecretsScope.ProjectSlug):
		e.differs(at.parent(), "%s was left out: its store %s is of another project, and a token is of one. Write it with another object, which has "+
			"creationPolicy: Merge.", field, s.title)
		return s, false
	}
	return s, true
}
