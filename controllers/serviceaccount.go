package controllers

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// serviceAccount is one that an identity logs in as. Equal ones are the same to a map, as source.Identity needs it.
type serviceAccount struct {
	client client.Client
	name   client.ObjectKey
}

// accountTokenLife is the shortest that the API server gives. Each login asks for a new one.
const accountTokenLife = 600

// JWT implements source.JWTSource by a TokenRequest. It asks for no audience but the API server's own, which is the one that Infisical's
// review of it expects. What it takes is in config/kubernetes-auth/role.yaml, apart from the operator's own role.
func (a serviceAccount) JWT(ctx context.Context) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.name.Namespace, Name: a.name.Name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](accountTokenLife)}}
	err := a.client.SubResource("token").Create(ctx, account, request)
	switch {
	case apierrors.IsNotFound(err):
		return "", missing(stv1.ReasonTokenSecretNotFound, "there is no ServiceAccount %s in namespace %s", a.name.Name, a.name.Namespace)
	case apierrors.IsForbidden(err):
		return "", missing(stv1.ReasonTokenSecretNotFound, "the operator's roles do not let it log in as ServiceAccount %s (the chart's kubernetesAuth.enabled)", a.name.Name)
	case err != nil:
		return "", fmt.Errorf("a token of ServiceAccount %s: %s", a.name.Name, (&writeError{err}).Error())
	}
	return request.Status.Token, nil
}
