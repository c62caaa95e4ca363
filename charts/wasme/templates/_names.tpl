{{- define "wasme.image" -}}
{{- $tag := .image.tag | default .chart.AppVersion -}}
{{- with .image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}:{{ $tag }}
{{- end }}

{{- define "wasme.release.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "wasme.operator.labels" -}}
app: wasme-operator
{{ include "wasme.release.labels" . }}
app.kubernetes.io/managed-by: wasme
app.kubernetes.io/name: wasme-operator
app.kubernetes.io/version: {{ .Chart.AppVersion }}
{{- end }}

{{- /* Without the version: on what is made once, and then belongs to whoever edits it. */ -}}
{{- define "wasme.cache.labels" -}}
app: wasme-cache
{{ include "wasme.release.labels" . }}
app.kubernetes.io/managed-by: wasme
app.kubernetes.io/name: wasme-cache
wasme.io/cache: wasme-cache
{{- end }}

{{- /* What was chosen, as `wasme cache install` notes it in the DaemonSet; {} where nothing was. */ -}}
{{- define "wasme.cache.chosen" -}}
{{- $image := .Values.wasmeCache.image -}}
{{- $chosen := dict -}}
{{- $repo := printf "%s/%s" (trimSuffix "/" $image.registry) $image.repository | trimPrefix "/" -}}
{{- if ne $repo "ghcr.io/wasme/wasme" }}{{ $_ := set $chosen "repo" $repo }}{{ end -}}
{{- with $image.tag }}{{ $_ := set $chosen "tag" . }}{{ end -}}
{{- if ne $image.pullPolicy "IfNotPresent" }}{{ $_ := set $chosen "pull_policy" $image.pullPolicy }}{{ end -}}
{{- $class := .Values.wasmeCache.priorityClassName -}}
{{- if ne $class "system-node-critical" }}{{ $_ := set $chosen "priority_class" $class }}{{ end -}}
{{- toJson $chosen -}}
{{- end }}

{{- /* A cluster has one operator. Deployments are looked up in a cluster only, so `helm template` refuses nothing. */ -}}
{{- define "wasme.alone" -}}
{{- range (lookup "apps/v1" "Deployment" "" "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq (get $labels "app") "wasme-operator") (ne .metadata.namespace $.Release.Namespace) -}}
{{- $where := .metadata.namespace -}}
{{- range .spec.template.spec.containers -}}
{{- if eq (first (.args | default (list ""))) "operator" -}}
{{- fail (printf "there is an operator in the namespace %s already, and a cluster has one: upgrade it there, or delete it first" $where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "wasme.drain.labels" -}}
app: wasme-drain
{{ include "wasme.release.labels" . }}
app.kubernetes.io/managed-by: wasme
app.kubernetes.io/name: wasme-drain
app.kubernetes.io/version: {{ .Chart.AppVersion }}
{{- end }}

{{- /* What failed stays, for its log; the next try takes it away. */ -}}
{{- define "wasme.drain.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
