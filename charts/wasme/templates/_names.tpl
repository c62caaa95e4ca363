{{- define "wasme.image" -}}
{{- $tag := .image.tag | default .chart.AppVersion -}}
{{- with .image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}:{{ $tag }}
{{- end }}

{{- define "wasme.operator.labels" -}}
app: wasme-operator
app.kubernetes.io/managed-by: wasme
app.kubernetes.io/name: wasme-operator
app.kubernetes.io/version: {{ .Chart.AppVersion }}
{{- end }}

{{- /* Without the version: on what is made once, and then belongs to whoever edits it. */ -}}
{{- define "wasme.cache.labels" -}}
app: wasme-cache
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
