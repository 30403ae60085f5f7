package rollout

import (
	"reflect"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// references by place, as a user writes them; NAME is what is referenced.
var secretPlaces = map[string]string{
	"env":                      `containers: [{env: [{name: A, valueFrom: {secretKeyRef: {name: NAME, key: a}}}]}]`,
	"an optional env":          `containers: [{env: [{name: A, valueFrom: {secretKeyRef: {name: NAME, key: a, optional: true}}}]}]`,
	"env after others":         `containers: [{}, {env: [{name: A, value: a}, {name: B, valueFrom: {secretKeyRef: {name: NAME, key: a}}}]}]`,
	"envFrom":                  `containers: [{envFrom: [{configMapRef: {name: other}}, {secretRef: {name: NAME}}]}]`,
	"an optional envFrom":      `containers: [{envFrom: [{secretRef: {name: NAME, optional: true}}]}]`,
	"env of an init container": `initContainers: [{env: [{name: A, valueFrom: {secretKeyRef: {name: NAME, key: a}}}]}]`,
	"envFrom of a sidecar":     `initContainers: [{restartPolicy: Always, envFrom: [{secretRef: {name: NAME}}]}]`,
	"env of an ephemeral one":  `ephemeralContainers: [{env: [{name: A, valueFrom: {secretKeyRef: {name: NAME, key: a}}}]}]`,
	"envFrom of an ephemeral":  `ephemeralContainers: [{envFrom: [{secretRef: {name: NAME}}]}]`,
	"imagePullSecrets":         `imagePullSecrets: [{name: other}, {name: NAME}]`,
	"a volume":                 `volumes: [{name: a, emptyDir: {}}, {name: v, secret: {secretName: NAME}}]`,
	"an optional volume":       `volumes: [{name: v, secret: {secretName: NAME, optional: true}}]`,
	"a projected volume":       `volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}, {secret: {name: NAME}}]}}]`,
	"an optional projection":   `volumes: [{name: v, projected: {sources: [{secret: {name: NAME, optional: true}}]}}]`,
	"a CSI volume":             `volumes: [{name: v, csi: {driver: d, nodePublishSecretRef: {name: NAME}}}]`,
	"an Azure file":            `volumes: [{name: v, azureFile: {secretName: NAME, shareName: s}}]`,
	"CephFS":                   `volumes: [{name: v, cephfs: {monitors: [m], secretRef: {name: NAME}}}]`,
	"Cinder":                   `volumes: [{name: v, cinder: {volumeID: i, secretRef: {name: NAME}}}]`,
	"a flex volume":            `volumes: [{name: v, flexVolume: {driver: d, secretRef: {name: NAME}}}]`,
	"iSCSI":                    `volumes: [{name: v, iscsi: {targetPortal: p, iqn: i, lun: 0, secretRef: {name: NAME}}}]`,
	"RBD":                      `volumes: [{name: v, rbd: {monitors: [m], image: i, secretRef: {name: NAME}}}]`,
	"ScaleIO":                  `volumes: [{name: v, scaleIO: {gateway: g, system: s, secretRef: {name: NAME}}}]`,
	"StorageOS":                `volumes: [{name: v, storageos: {volumeName: vol, secretRef: {name: NAME}}}]`,
}

var configMapPlaces = map[string]string{
	"env":                      `containers: [{env: [{name: A, valueFrom: {configMapKeyRef: {name: NAME, key: a}}}]}]`,
	"an optional env":          `containers: [{env: [{name: A, valueFrom: {configMapKeyRef: {name: NAME, key: a, optional: true}}}]}]`,
	"envFrom":                  `containers: [{envFrom: [{secretRef: {name: other}}, {configMapRef: {name: NAME}}]}]`,
	"env of an init container": `initContainers: [{env: [{name: A, valueFrom: {configMapKeyRef: {name: NAME, key: a}}}]}]`,
	"envFrom of a sidecar":     `initContainers: [{restartPolicy: Always, envFrom: [{configMapRef: {name: NAME}}]}]`,
	"envFrom of an ephemeral":  `ephemeralContainers: [{envFrom: [{configMapRef: {name: NAME}}]}]`,
	"a volume":                 `volumes: [{name: a, emptyDir: {}}, {name: v, configMap: {name: NAME}}]`,
	"a projected volume":       `volumes: [{name: v, projected: {sources: [{secret: {name: other}}, {configMap: {name: NAME, optional: true}}]}}]`,
}

func TestAReferenceCountsInEveryPlaceAndOnlyToTheTarget(t *testing.T) {
	for kind, places := range map[string]map[string]string{"Secret": secretPlaces, "ConfigMap": configMapPlaces} {
		other := map[string]string{"Secret": "ConfigMap", "ConfigMap": "Secret"}[kind]
		for place, text := range places {
			t.Run(kind+" by "+place, func(t *testing.T) {
				g := NewWithT(t)
				pod := parsePod(t, strings.ReplaceAll(text, "NAME", "env"))
				g.Expect(references(pod, Change{Kind: kind, Name: "env"})).To(BeTrue())
				g.Expect(references(pod, Change{Kind: other, Name: "env"})).To(BeFalse(), "a %s of that name", other)
				g.Expect(references(pod, Change{Kind: kind, Name: "en"})).To(BeFalse())
				for _, near := range []string{"env-2", "my-env", "''"} {
					pod := parsePod(t, strings.ReplaceAll(text, "NAME", near))
					g.Expect(references(pod, Change{Kind: kind, Name: "env"})).To(BeFalse(), near)
				}
			})
		}
	}
}

func TestWhatIsOnlyCalledLikeTheTargetIsNoReference(t *testing.T) {
	for name, text := range map[string]string{
		"a variable":              `containers: [{env: [{name: env, value: env}]}]`,
		"a key of another":        `containers: [{env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: env}}}, {name: B, valueFrom: {configMapKeyRef: {name: a, key: env}}}]}]`,
		"a field":                 `containers: [{env: [{name: A, valueFrom: {fieldRef: {fieldPath: env}}}]}]`,
		"a prefix":                `containers: [{envFrom: [{prefix: env}]}]`,
		"a container, its mounts": `containers: [{name: env, image: env, volumeMounts: [{name: env, mountPath: env}]}]`,
		"a volume's name":         `volumes: [{name: env, emptyDir: {}}]`,
		"a volume's item":         `volumes: [{name: v, secret: {secretName: a, items: [{key: env, path: env}]}}, {name: w, configMap: {name: a, items: [{key: env, path: env}]}}]`,
		"a claim":                 `volumes: [{name: v, persistentVolumeClaim: {claimName: env}}]`,
		"a file on the node":      `volumes: [{name: v, cephfs: {monitors: [m], secretFile: env}}]`,
		"volumes without Secrets": `volumes: [{name: v, csi: {driver: env}}, {name: w, rbd: {monitors: [m], image: env}}]`,
		"the account":             `serviceAccountName: env`,
		"an empty pod":            `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			pod := parsePod(t, text)
			for _, kind := range []string{"Secret", "ConfigMap"} {
				NewWithT(t).Expect(references(pod, Change{Kind: kind, Name: "env"})).To(BeFalse(), kind)
			}
		})
	}
}

func TestAnEmptyReferenceIsOneToNothing(t *testing.T) {
	pod := parsePod(t, `containers: [{envFrom: [{secretRef: {}}, {configMapRef: {}}]}]`)
	for _, kind := range []string{"Secret", "ConfigMap"} {
		NewWithT(t).Expect(references(pod, Change{Kind: kind})).To(BeFalse(), kind)
	}
}

// Fields by which a pod names a Secret or ConfigMap are found in the API types themselves, so a version that adds one fails here.
func TestEveryFieldOfThePodThatNamesASecretOrConfigMapIsKnown(t *testing.T) {
	for kind, want := range map[string]int{"Secret": 18, "ConfigMap": 8} {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			fields := fieldsThatName(kind, reflect.TypeFor[corev1.PodSpec](), nil)
			for _, path := range fields {
				pod := &corev1.PodSpec{}
				set(reflect.ValueOf(pod).Elem(), path, "env")
				name := strings.Join(path, ".")
				g.Expect(references(pod, Change{Kind: kind, Name: "env"})).To(BeTrue(), "pod.%s names a %s", name, kind)
				g.Expect(references(pod, Change{Kind: kind, Name: "other"})).To(BeFalse(), name)
			}
			g.Expect(fields).To(HaveLen(want), "the walk finds them")
		})
	}
}

// fieldsThatName walks a type of the API for strings that name an object of the kind, and returns the paths to them.
func fieldsThatName(kind string, of reflect.Type, path []string) (found [][]string) {
	for i := range of.NumField() {
		field := of.Field(i)
		path := append(path[:len(path):len(path)], field.Name)
		inner := field.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		switch {
		case inner.Kind() == reflect.String && namesA(kind, of, path):
			found = append(found, path)
		case inner.Kind() == reflect.Struct && inner.PkgPath() == of.PkgPath():
			found = append(found, fieldsThatName(kind, inner, path)...)
		}
	}
	return found
}

// namesA says whether a field names an object of the kind: it says so itself, or it is the name in something that says so, or in a reference
// that says no kind at all, which is one to a Secret.
func namesA(kind string, of reflect.Type, path []string) bool {
	way, field := strings.Join(path[:len(path)-1], "."), path[len(path)-1]
	switch {
	case field == "SecretFile": // of CephFS: a path on the node
		return false
	case strings.Contains(field, kind), field == "Name" && strings.Contains(way, kind):
		return true
	}
	return kind == "Secret" && of == reflect.TypeFor[corev1.LocalObjectReference]() && !strings.Contains(way, "ConfigMap")
}

// set sets the field at the path, and makes all that is on the way to it.
func set(v reflect.Value, path []string, value string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		set(v.Elem(), path, value)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		set(v.Index(0), path, value)
	case reflect.Struct:
		set(v.FieldByName(path[0]), path[1:], value)
	default:
		v.SetString(value)
	}
}

func parsePod(t *testing.T, text string) *corev1.PodSpec {
	t.Helper()
	pod := &corev1.PodSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}
