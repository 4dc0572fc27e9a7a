{{- define "trainserve.operator" -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "trainserve.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "trainserve.labels" -}}
{{ include "trainserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The reference of one of this project's images; its argument is (list . "operator"). */ -}}
{{- define "trainserve.image" -}}
{{- $root := index . 0 }}
{{- with $root.Values.images.registry }}{{ . }}/{{ end }}trainserve-{{ index . 1 }}:{{ $root.Values.images.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- /* Takes the CEL rules out of a schema, in place: server-side apply on Kubernetes before 1.25 refuses them. */ -}}
{{- define "trainserve.withoutRules" -}}
{{- if kindIs "map" . }}
{{- $_ := unset . "x-kubernetes-validations" }}
{{- range $inner := values . }}{{ include "trainserve.withoutRules" $inner }}{{ end }}
{{- else if kindIs "slice" . }}
{{- range $inner := . }}{{ include "trainserve.withoutRules" $inner }}{{ end }}
{{- end }}
{{- end }}

{{- /* The labels of an object of the Prometheus operator: those that its selectors may ask for win. */ -}}
{{- define "trainserve.monitoringLabels" -}}
{{ toYaml (mergeOverwrite (include "trainserve.labels" . | fromYaml) .Values.monitoring.labels) }}
{{- end }}

{{- /* Not empty where the Prometheus operator's objects are installed. Values that `helm upgrade --reuse-values` kept from
a chart before these have no `monitoring`: then nothing of it is. */ -}}
{{- define "trainserve.monitored" -}}
{{- $enabled := toString (.Values.monitoring | default dict).enabled }}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}true{{ end }}
{{- end }}

{{- /* The release's name and what follows it, in 63 characters: what follows tells objects apart, so it is the release's
name that is cut. Its argument is (list . "training"). */ -}}
{{- define "trainserve.named" -}}
{{- $release := (index . 0).Release.Name -}}
{{ printf "%s-%s" ($release | trunc (sub 62 (len (index . 1)) | int) | trimSuffix "-") (index . 1) }}
{{- end }}

{{- /* The metadata of such an object; its argument is (list . "training"). */ -}}
{{- define "trainserve.monitoringMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "trainserve.named" . }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "trainserve.monitoringLabels" $root | nindent 2 }}
{{- end }}

{{- /* Relabelings of a target: its job, labels from the pod's labels, and none that say what is known already. Its
argument is (list "trainserve-training" (dict "trainjob" "trainjob" "attempt" "attempt")). */ -}}
{{- define "trainserve.relabelings" -}}
- targetLabel: job
  replacement: {{ index . 0 }}
{{- range $target, $label := index . 1 }}
- sourceLabels: [__meta_kubernetes_pod_label_trainserve_io_{{ $label }}]
  targetLabel: {{ $target }}
{{- end }}
- action: labeldrop
  regex: container|endpoint|service
{{- end }}
