package convert

import (
	"strconv"
	"strings"
	"time"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// The fields of an InfisicalSecret, as of Infisical's kubernetes-operator. Those that only matter to another way to authenticate are
// here so that they are known, and are not read.
type (
	infisicalSecret struct {
		Spec infisicalSpec `json:"spec"`
	}

	infisicalSpec struct {
		HostAPI        string       `json:"hostAPI"`
		TLS            infisicalTLS `json:"tls"`
		ResyncInterval int64        `json:"resyncInterval"` // seconds
		InstantUpdates bool         `json:"instantUpdates"`
		SyncConfig     struct {
			ResyncInterval string `json:"resyncInterval"`
			InstantUpdates bool   `json:"instantUpdates"`
		} `json:"syncConfig"`

		TokenSecretReference secretReference         `json:"tokenSecretReference"`
		Authentication       infisicalAuthentication `json:"authentication"`

		ManagedSecretReference         *managedSecret     `json:"managedSecretReference"`
		ManagedKubeSecretReferences    []managedSecret    `json:"managedKubeSecretReferences"`
		ManagedKubeConfigMapReferences []managedConfigMap `json:"managedKubeConfigMapReferences"`
	}

	secretReference struct {
		SecretName      string `json:"secretName"`
		SecretNamespace string `json:"secretNamespace"`
	}

	infisicalAuthentication struct {
		ServiceToken struct {
			ServiceTokenSecretReference secretReference `json:"serviceTokenSecretReference"`
			SecretsScope                infisicalScope  `json:"secretsScope"`
		} `json:"serviceToken"`
		ServiceAccount struct {
			ServiceAccountSecretReference any    `json:"serviceAccountSecretReference"`
			ProjectID                     string `json:"projectId"`
			EnvironmentName               string `json:"environmentName"`
		} `json:"serviceAccount"`
		UniversalAuth  machineIdentity `json:"universalAuth"`
		KubernetesAuth machineIdentity `json:"kubernetesAuth"`
		AWSIAMAuth     machineIdentity `json:"awsIamAuth"`
		AzureAuth      machineIdentity `json:"azureAuth"`
		GCPIDTokenAuth machineIdentity `json:"gcpIdTokenAuth"`
		GCPIAMAuth     machineIdentity `json:"gcpIamAuth"`
		LDAPAuth       machineIdentity `json:"ldapAuth"`
	}

	machineIdentity struct {
		SecretsScope infisicalScope `json:"secretsScope"`

		IdentityID                    any `json:"identityId"`
		CredentialsRef                any `json:"credentialsRef"`
		ServiceAccountRef             any `json:"serviceAccountRef"`
		AutoCreateServiceAccountToken any `json:"autoCreateServiceAccountToken"`
		ServiceAccountTokenAudiences  any `json:"serviceAccountTokenAudiences"`
		ServiceAccountKeyFilePath     any `json:"serviceAccountKeyFilePath"`
		Resource                      any `json:"resource"`
	}

	infisicalScope struct {
		EnvSlug     string   `json:"envSlug"`
		SecretsPath string   `json:"secretsPath"`
		Recursive   bool     `json:"recursive"`
		SecretName  string   `json:"secretName"`
		TagSlugs    []string `json:"tagSlugs"`
		ProjectSlug string   `json:"projectSlug"`
		ProjectID   string   `json:"projectId"`
	}

	managedSecret struct {
		SecretName      string             `json:"secretName"`
		SecretNamespace string             `json:"secretNamespace"`
		SecretType      string             `json:"secretType"`
		CreationPolicy  string             `json:"creationPolicy"`
		Template        *infisicalTemplate `json:"template"`
	}

	managedConfigMap struct {
		ConfigMapName      string             `json:"configMapName"`
		ConfigMapNamespace string             `json:"configMapNamespace"`
		CreationPolicy     string             `json:"creationPolicy"`
		Template           *infisicalTemplate `json:"template"`
	}

	infisicalTemplate struct {
		IncludeAllSecrets bool              `json:"includeAllSecrets"`
		Data              map[string]string `json:"data"`
		Metadata          *copiedMetadata   `json:"metadata"`
	}

	copiedMetadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	}
)

// infisicalTokenKey is where Infisical's operator looks in the Secret with the token.
const infisicalTokenKey = "infisicalToken"

func (p *peers) infisicalSecret(o object) (*draft, string, error) {
	var from infisicalSecret
	unknown, err := o.decodeStrict(&from)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, "", err
	}
	d := newDraft(o)
	d.server("spec.hostAPI", from.Spec.HostAPI)
	d.ca("spec.tls", from.Spec.TLS)
	if err := d.infisicalInterval(from.Spec); err != nil {
		return nil, "", err
	}
	scope := d.infisicalAuth(from.Spec)
	d.infisicalScope(scope)
	if err := d.addTargets(from.Spec.targets(), "infisicalsecrets."+infisicalGroup); err != nil {
		return nil, "", err
	}
	d.reload(p.reloaded)
	d.unknown(unknown)
	return d, "", nil
}

// infisicalInterval reads whichever of the two fields is set; the older one is in seconds.
func (d *draft) infisicalInterval(from infisicalSpec) error {
	if from.InstantUpdates || from.SyncConfig.InstantUpdates {
		d.differs(spec.to("refreshInterval"), "instantUpdates: not here. A change arrives with the next poll.")
	}
	switch field := "spec.syncConfig.resyncInterval"; {
	case from.SyncConfig.ResyncInterval != "":
		wanted, ok := infisicalDuration(from.SyncConfig.ResyncInterval)
		if !ok {
			return d.from.bad(field, "is not an interval such as 60s, 5m, 1h, 1d or 1w")
		}
		d.interval(field, wanted)
	case from.ResyncInterval > 0:
		d.interval("spec.resyncInterval", time.Duration(min(from.ResyncInterval, maxSeconds))*time.Second)
	}
	return nil
}

// maxSeconds is more than anybody waits, and less than what a duration can hold.
const maxSeconds = 10 * 365 * 24 * 60 * 60

// infisicalDuration reads a number with one unit, which may be days and weeks.
func infisicalDuration(text string) (time.Duration, bool) {
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 60 * 60, 'd': 24 * 60 * 60, 'w': 7 * 24 * 60 * 60}
	if text == "" {
		return 0, false
	}
	unit := units[text[len(text)-1]]
	n, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
	if err != nil || n < 0 || unit == 0 {
		return 0, false
	}
	return time.Duration(min(n, maxSeconds/unit)*unit) * time.Second, true
}

// infisicalAuth sets the token, and returns what to read with it. A service token comes first, as it is one here too.
func (d *draft) infisicalAuth(from infisicalSpec) infisicalScope {
	auth := from.Authentication
	field, ref := "spec.authentication.serviceToken.serviceTokenSecretReference", auth.ServiceToken.ServiceTokenSecretReference
	if ref.SecretName == "" {
		field, ref = "spec.tokenSecretReference", from.TokenSecretReference
	}
	if ref.SecretName != "" {
		d.token(ref.SecretName, infisicalTokenKey)
		d.otherNamespace(spec.to("auth"), field+".secretNamespace", ref.SecretNamespace, "the Secret "+printable(ref.SecretName))
		return auth.ServiceToken.SecretsScope
	}
	for _, method := range []struct {
		name string
		machineIdentity
	}{
		{"universalAuth", auth.UniversalAuth}, {"kubernetesAuth", auth.KubernetesAuth}, {"awsIamAuth", auth.AWSIAMAuth},
		{"azureAuth", auth.AzureAuth}, {"gcpIdTokenAuth", auth.GCPIDTokenAuth}, {"gcpIamAuth", auth.GCPIAMAuth}, {"ldapAuth", auth.LDAPAuth},
	} {
		if method.SecretsScope.EnvSlug != "" {
			d.missingToken("spec.authentication."+method.name, method.SecretsScope.ProjectSlug+method.SecretsScope.ProjectID)
			return method.SecretsScope
		}
	}
	if account := auth.ServiceAccount; account.EnvironmentName != "" {
		d.missingToken("spec.authentication.serviceAccount", account.ProjectID)
		d.differs(d.nextSource(), "spec.authentication.serviceAccount.environmentName is a name: write the slug of the environment here.")
		return infisicalScope{EnvSlug: account.EnvironmentName}
	}
	d.missingToken("spec.authentication", "")
	return infisicalScope{}
}

// infisicalScope sets what to read: one secret by name, or a folder. Without either it is what the token may read.
func (d *draft) infisicalScope(s infisicalScope) {
	path := folder(s.SecretsPath)
	switch {
	case s.EnvSlug == "":
		d.differs(spec, "No secretsScope: what the token's only scope holds is read. A token with several scopes needs spec.sources.")
	case s.SecretName != "":
		d.result.Spec.Data = []stv1.DataEntry{{Key: s.SecretName, Environment: s.EnvSlug, Path: path}}
	default:
		d.addSource(stv1.Source{Environment: s.EnvSlug, Path: path, Recursive: s.Recursive, Tags: sortedSet(s.TagSlugs)})
	}
}

// targets returns what is written, Secrets first. The single one is of older versions; both kinds may be there.
func (from infisicalSpec) targets() []wantedTarget {
	var all []wantedTarget
	add := func(field string, m managedSecret) {
		all = append(all, wantedTarget{
			field: field, nameField: "secretName", namespaceField: "secretNamespace", kind: stv1.TargetKindSecret,
			name: m.SecretName, namespace: m.SecretNamespace, secretType: m.SecretType, policy: m.CreationPolicy,
		}.with(m.Template))
	}
	if m := from.ManagedSecretReference; m != nil && m.SecretName != "" {
		add("spec.managedSecretReference", *m)
	}
	for i, m := range from.ManagedKubeSecretReferences {
		add("spec.managedKubeSecretReferences["+strconv.Itoa(i)+"]", m)
	}
	for i, m := range from.ManagedKubeConfigMapReferences {
		all = append(all, wantedTarget{
			field: "spec.managedKubeConfigMapReferences[" + strconv.Itoa(i) + "]", nameField: "configMapName", namespaceField: "configMapNamespace",
			kind: stv1.TargetKindConfigMap, name: m.ConfigMapName, namespace: m.ConfigMapNamespace, policy: m.CreationPolicy,
		}.with(m.Template))
	}
	return all
}

// reload asks for restarts where a workload of the input has them today, and otherwise says how to.
func (d *draft) reload(workloads []object) {
	var names []string
	for _, w := range workloads {
		if own, other := d.from.Metadata.Namespace, w.Metadata.Namespace; own == other || own == "" || other == "" {
			names = append(names, strings.ToLower(w.Kind)+"/"+w.Metadata.Name)
		}
	}
	if len(names) == 0 {
		d.note(head, "Workloads with the annotation %s: give them servicetoken.io/restart: \"true\", and this object spec.rollout: {mode: Annotated}.",
			reloadAnnotation)
		return
	}
	d.result.Spec.Rollout = &stv1.Rollout{Mode: stv1.RolloutAnnotated}
	d.differs(spec.to("rollout"), "%s: the annotation %s is servicetoken.io/restart: \"true\" here. Those that carry it are restarted, whether they "+
		"use the target or not; the operator needs its role for restarts.", listed(names), reloadAnnotation)
}
