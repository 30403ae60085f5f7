package convert

import (
	"regexp"
	"strings"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// serverURL is what the API takes as hostURL.
var serverURL = regexp.MustCompile(`^https?://[^/?#@]+(/[^?#@]*)?$`)

const maxURL = 2048

// server sets where Infisical is. The URL is never repeated in a comment: it may hold a password.
func (d *draft) server(field, url string) {
	url = strings.TrimSpace(url)
	at := spec.to("hostURL")
	switch {
	case url == "": // the operator's own default, here as there
	case len(url) > maxURL || !serverURL.MatchString(url):
		d.differs(at, "%s is not https://host[:port][/path] and was left out: set hostURL.", field)
	default:
		d.result.Spec.HostURL = url
		if strings.HasPrefix(url, "http://") {
			d.differs(at, "Plain http needs the operator's --allow-http.")
		}
	}
}

// caRef is how Infisical's operator names a CA.
type caRef struct {
	SecretName      string `json:"secretName"`
	SecretNamespace string `json:"secretNamespace"`
	Key             string `json:"key"`
}

type infisicalTLS struct {
	CARef *caRef `json:"caRef"`
}

func (d *draft) ca(field string, tls infisicalTLS) {
	if tls.CARef == nil || tls.CARef.SecretName == "" {
		return
	}
	d.bundle("Secret", tls.CARef.SecretName, tls.CARef.Key)
	d.otherNamespace(spec.to("tls"), field+".caRef.secretNamespace", tls.CARef.SecretNamespace, "the Secret "+printable(tls.CARef.SecretName))
}

// bundle leaves out what is the default.
func (d *draft) bundle(kind, name, key string) {
	if kind == "ConfigMap" {
		kind = ""
	}
	if key == "ca.crt" {
		key = ""
	}
	d.result.Spec.TLS = &stv1.TLS{CABundleRef: stv1.CABundleRef{Kind: kind, Name: name, Key: key}}
}
