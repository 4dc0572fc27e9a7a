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
