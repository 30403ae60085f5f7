package rollout

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

const (
	secretKind    = "Secret"
	configMapKind = "ConfigMap"
)

// references says whether a pod uses the target anywhere. The places are those for which the kubelet may read it (VisitPodSecretNames and
// VisitPodConfigmapNames in k8s.io/kubernetes/pkg/api/v1/pod); references_test.go finds those that a later version of the API adds.
func references(pod *corev1.PodSpec, target Change) bool {
	names := secretNames
	if target.Kind == configMapKind {
		names = configMapNames
	}
	return target.Name != "" && slices.Contains(names(pod), target.Name) // a reference may be empty, which is one to nothing
}

// secretNames are the names of all Secrets that a pod references, with repetitions and empty ones.
func secretNames(pod *corev1.PodSpec) []string {
	var names []string
	for _, ref := range pod.ImagePullSecrets {
		names = append(names, ref.Name)
	}
	for _, c := range containers(pod) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				names = append(names, from.SecretRef.Name)
			}
		}
		for _, env := range c.Env {
			if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
				names = append(names, env.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for i := range pod.Volumes {
		names = append(names, volumeSecretNames(&pod.Volumes[i].VolumeSource)...)
	}
	return names
}

// volumeSecretNames knows that a volume has one source, as the API server validates.
func volumeSecretNames(v *corev1.VolumeSource) []string {
	var ref *corev1.LocalObjectReference
	switch {
	case v.Secret != nil:
		return []string{v.Secret.SecretName}
	case v.Projected != nil:
		var names []string
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				names = append(names, source.Secret.Name)
			}
		}
		return names
	case v.AzureFile != nil:
		return []string{v.AzureFile.SecretName}
	case v.CSI != nil:
		ref = v.CSI.NodePublishSecretRef
	case v.CephFS != nil:
		ref = v.CephFS.SecretRef
	case v.Cinder != nil:
		ref = v.Cinder.SecretRef
	case v.FlexVolume != nil:
		ref = v.FlexVolume.SecretRef
	case v.ISCSI != nil:
		ref = v.ISCSI.SecretRef
	case v.RBD != nil:
		ref = v.RBD.SecretRef
	case v.ScaleIO != nil:
		ref = v.ScaleIO.SecretRef
	case v.StorageOS != nil:
		ref = v.StorageOS.SecretRef
	}
	if ref == nil {
		return nil
	}
	return []string{ref.Name}
}

// configMapNames are the names of all ConfigMaps that a pod references, with repetitions and empty ones.
func configMapNames(pod *corev1.PodSpec) []string {
	var names []string
	for _, c := range containers(pod) {
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil {
				names = append(names, from.ConfigMapRef.Name)
			}
		}
		for _, env := range c.Env {
			if env.ValueFrom != nil && env.ValueFrom.ConfigMapKeyRef != nil {
				names = append(names, env.ValueFrom.ConfigMapKeyRef.Name)
			}
		}
	}
	for _, v := range pod.Volumes {
		if v.ConfigMap != nil {
			names = append(names, v.ConfigMap.Name)
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ConfigMap != nil {
				names = append(names, source.ConfigMap.Name)
			}
		}
	}
	return names
}

// containers are all of a pod: init containers, with the sidecars among them, containers and ephemeral ones. The API server accepts no
// ephemeral container in a Deployment's template; a CRD's schema may.
func containers(pod *corev1.PodSpec) []corev1.Container {
	all := slices.Concat(pod.InitContainers, pod.Containers)
	for _, c := range pod.EphemeralContainers {
		all = append(all, corev1.Container(c.EphemeralContainerCommon))
	}
	return all
}
