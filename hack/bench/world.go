package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	keys            = 10 // in each source, of 64 bytes
	sourcesPerToken = 10 // and per namespace
	environment     = "prod"
	tokenSecret     = "infisical-token"
)

// managedLabel is on the Secrets that the operator makes.
var managedLabel = client.MatchingLabels{"app.kubernetes.io/managed-by": "service-token-operator"}

// world is what a stage holds: objects that read sources, with ten sources to a token and a token to a namespace.
type world struct {
	objects, sources int
	refresh          time.Duration

	versions []int               // of the values of each source
	made     []metav1.ObjectMeta // of each object, as it was made
}

// newWorld has an object for each 50th of a source, or as many sources as are given.
func newWorld(objects int, refresh time.Duration) *world {
	return newWorldOf(objects, max(1, objects/50), refresh)
}

func newWorldOf(objects, sources int, refresh time.Duration) *world {
	return &world{objects: objects, sources: sources, refresh: refresh, versions: make([]int, sources), made: make([]metav1.ObjectMeta, objects)}
}

func (w *world) namespaces() int { return (w.sources + sourcesPerToken - 1) / sourcesPerToken }

func namespaceName(n int) string   { return fmt.Sprintf("team-%d", n) }
func sourcePath(source int) string { return fmt.Sprintf("/app-%d", source) }

// of says which source an object reads, and in which namespace it lives.
func (w *world) of(object int) (source int, namespace string) {
	source = object % w.sources
	return source, namespaceName(source / sourcesPerToken)
}

func objectName(object int) string { return fmt.Sprintf("object-%d", object) }

// value is 64 bytes that no other key of no other source has.
func (w *world) value(source, key int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "source %d, key %d, version %d", source, key, w.versions[source]))
	return hex.EncodeToString(sum[:])
}

func (w *world) values(source int) map[string]string {
	values := make(map[string]string, keys)
	for key := range keys {
		values[fmt.Sprintf("KEY_%d", key)] = w.value(source, key)
	}
	return values
}

// holds says whether a Secret, which is named after its object, holds what that object reads.
func (w *world) holds(secret *corev1.Secret) bool {
	object, err := strconv.Atoi(strings.TrimPrefix(secret.Name, "object-"))
	if err != nil || len(secret.Data) != keys {
		return false
	}
	source, _ := w.of(object)
	for name, value := range w.values(source) {
		if string(secret.Data[name]) != value {
			return false
		}
	}
	return true
}

// create makes everything: projects, secrets and tokens at the server, namespaces, token Secrets and objects in the cluster.
func (w *world) create(ctx context.Context, s *stage) error {
	if err := s.infisical.addProject(ctx, w); err != nil {
		return err
	}
	for n := range w.namespaces() {
		token, err := s.infisical.addToken(ctx, servicetoken.Scopes{{Environment: environment, Path: "/**"}})
		if err != nil {
			return err
		}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceName(n)}}
		if err := s.client.Create(ctx, namespace); err != nil {
			return err
		}
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: tokenSecret}, Data: map[string][]byte{"token": []byte(token)},
		}
		if err := s.client.Create(ctx, secret); err != nil {
			return err
		}
	}
	return inParallel(ctx, w.objects, func(ctx context.Context, i int) error {
		source, namespace := w.of(i)
		object := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: objectName(i)}}
		object.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: tokenSecret}}
		object.Spec.Sources = []stv1.Source{{Environment: environment, Path: sourcePath(source)}}
		object.Spec.RefreshInterval = metav1.Duration{Duration: w.refresh}
		if err := s.client.Create(ctx, object); err != nil {
			return err
		}
		w.made[i] = object.ObjectMeta
		return nil
	})
}

// createForeign makes Secrets that are nobody's business, of 20 KB each.
func (w *world) createForeign(ctx context.Context, s *stage, count int) error {
	const namespace, size = "foreign", 20_000
	if err := s.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	return inParallel(ctx, count, func(ctx context.Context, i int) error {
		sum := sha256.Sum256(fmt.Append(nil, i))
		return s.client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("foreign-%d", i)},
			Data:       map[string][]byte{"file": []byte(strings.Repeat(hex.EncodeToString(sum[:]), size/64))},
		})
	})
}

func isReady(object *stv1.ServiceTokenSecret) bool {
	ready := meta.FindStatusCondition(object.Status.Conditions, stv1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == object.Generation
}

// inParallel does something for each number below n, as many at a time as there are workers.
func inParallel(ctx context.Context, n int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for worker := range workers {
		group.Go(func() error {
			for i := worker; i < n; i += workers {
				if err := do(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
