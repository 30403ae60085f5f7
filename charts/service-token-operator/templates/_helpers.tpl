{{- define "sto.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sto.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "sto.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sto.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of what is outside of the release's namespace: two releases of one name may live in two namespaces. */}}
{{- define "sto.clusterName" -}}
{{ .Release.Namespace }}:{{ include "sto.fullname" . }}
{{- end -}}

{{- define "sto.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sto.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sto.labels" -}}
{{ include "sto.labelsWith" (list . dict) }}
{{- end -}}

{{/* The labels of an object, with more of the user's: a list of the context and these. Those that select or belong to the chart win. */}}
{{- define "sto.labelsWith" -}}
{{- $ := index . 0 -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" $.Chart.AppVersion
  "app.kubernetes.io/managed-by" $.Release.Service
-}}
{{- toYaml (mergeOverwrite dict $.Values.commonLabels (index . 1) $labels (include "sto.selectorLabels" $ | fromYaml)) -}}
{{- end -}}

{{- define "sto.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "sto.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "sto.subjects" -}}
- kind: ServiceAccount
  name: {{ include "sto.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "sto.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- .repository -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/*
What the operator may do with the objects of users, as a file has it: everywhere, or in the namespaces to work in and nowhere else.
Takes root, file, and suffix, of the names.
*/}}
{{- define "sto.grant" -}}
{{- $root := .root }}
{{- $name := printf "%s%s" (include "sto.clusterName" $root) .suffix }}
{{- $rules := ($root.Files.Get .file | fromYaml).rules | toYaml }}
{{- range $root.Values.watchNamespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels:
    {{- include "sto.labels" $root | nindent 4 }}
rules:
{{ $rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels:
    {{- include "sto.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
{{ include "sto.subjects" $root }}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels:
    {{- include "sto.labels" $root | nindent 4 }}
rules:
{{ $rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "sto.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
{{ include "sto.subjects" $root }}
{{- end }}
{{- end -}}

{{/* The Secret with the certificate for metrics, where one is served. */}}
{{- define "sto.metricsCertificate" -}}
{{- if and .Values.metrics.enabled .Values.metrics.secure }}{{ .Values.metrics.certificateSecret }}{{ end -}}
{{- end -}}

{{- define "sto.volumes" -}}
{{- with .Values.caBundle }}
{{- if .name }}
- name: ca
  {{- if eq .kind "Secret" }}
  secret:
    secretName: {{ .name }}
  {{- else }}
  configMap:
    name: {{ .name }}
  {{- end }}
    items:
    - key: {{ .key }}
      path: ca.crt
{{- end }}
{{- end }}
{{- with include "sto.metricsCertificate" . }}
- name: metrics
  secret:
    secretName: {{ . }}
{{- end }}
{{- if .Values.webhook.enabled }}
- name: webhooks
  secret:
    secretName: {{ .Values.webhook.secretName }}
{{- with .Values.webhook.certificateSecret }}
- name: webhook-certificate
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
