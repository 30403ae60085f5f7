package usage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const fieldOwner = client.FieldOwner("service-token-operator")

// store is the ConfigMap: data[token id] = decimal mark. Whatever else is in it is kept.
type store struct {
	reader client.Reader
	writer client.Writer
	key    client.ObjectKey
}

// load reads the ConfigMap. One that does not exist comes back empty and without a resourceVersion.
func (s store) load(ctx context.Context) (*corev1.ConfigMap, error) {
	cm := &corev1.ConfigMap{}
	err := s.reader.Get(ctx, s.key, cm)
	if apierrors.IsNotFound(err) {
		return s.empty(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the marks of token uses from ConfigMap %s: %w", s.key, err)
	}
	return cm, nil
}

// save writes the ConfigMap and updates cm to what is stored. lostRace tells whether to load and try again.
func (s store) save(ctx context.Context, cm *corev1.ConfigMap) error {
	var err error
	if cm.ResourceVersion == "" {
		err = s.writer.Create(ctx, cm, fieldOwner)
	} else {
		err = s.writer.Update(ctx, cm, fieldOwner)
	}
	if err != nil {
		return fmt.Errorf("store the marks of token uses in ConfigMap %s: %w", s.key, err)
	}
	return nil
}

// lostRace says that the ConfigMap is not what it was when it was read: changed, created or deleted by somebody else. A
// create that finds no namespace is not among them.
func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || missingConfigMap(err)
}

func missingConfigMap(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "configmaps"
}

// mark returns the token's entry, 0 when there is none, or a *CorruptError that names it.
func (s store) mark(cm *corev1.ConfigMap, id string) (int64, error) {
	text, found := cm.Data[id]
	if !found {
		return 0, nil
	}
	// Half of the range is beyond any use, and leaves room to add to.
	mark, err := strconv.ParseInt(strings.TrimSpace(text), 10, 63)
	if err != nil || mark < 0 {
		return 0, &CorruptError{ConfigMap: s.key.String(), Key: id}
	}
	return mark, nil
}

func setMark(cm *corev1.ConfigMap, id string, mark int64) {
	if cm.Data == nil {
		cm.Data = map[string]string{}
	}
	cm.Data[id] = strconv.FormatInt(mark, 10)
}

func (s store) empty() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.key.Namespace,
		Name:      s.key.Name,
		Labels:    map[string]string{"app.kubernetes.io/managed-by": "service-token-operator"},
		Annotations: map[string]string{
			"kubernetes.io/description": "How often each Infisical service token was used, by token id. Written by service-token-operator, " +
				"slightly ahead of the uses. Deleting an entry counts that token from zero; deleting all of it, every token.",
		},
	}}
}
