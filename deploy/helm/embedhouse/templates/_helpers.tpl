{{- define "embedhouse.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "embedhouse.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "embedhouse.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "embedhouse.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "embedhouse.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* "true" where nothing that has to last is in a pod's own folder: then there may be any number of pods. */}}
{{- define "embedhouse.isShared" -}}
{{- $store := default "embedded" (.Values.settings).store -}}
{{- $lexical := default $store (.Values.settings).lexical_store -}}
{{- if and (.Values.secrets.ledgerUrl).name (ne $store "embedded") (ne $lexical "embedded") -}}true{{- end -}}
{{- end -}}

{{- define "embedhouse.claim" -}}
{{ .Values.persistence.existingClaim | default (include "embedhouse.fullname" .) }}
{{- end -}}

{{- define "embedhouse.serverUrl" -}}
http://{{ include "embedhouse.fullname" . }}:{{ .Values.service.port }}
{{- end -}}

{{- define "embedhouse.secretEnv" -}}
{{- $known := dict "EMBEDHOUSE_API_KEY" .Values.secrets.apiKey "EMBEDHOUSE_LEDGER_URL" .Values.secrets.ledgerUrl -}}
{{- $_ := set $known "EMBEDHOUSE_REDIS_URL" .Values.secrets.redisUrl -}}
{{- $_ := set $known "SOURCE_DB_URL" .Values.secrets.sourceDbUrl -}}
{{- $_ := set $known "EMBEDHOUSE_HUB_TOKEN" .Values.secrets.hubToken -}}
{{- range $variable, $where := merge $known .Values.secrets.env }}
{{- if ($where).name }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ $where.name | quote }}, key: {{ $where.key | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* What every container is told. Tables of settings are JSON, which a variable may hold. */}}
{{- define "embedhouse.env" -}}
- {name: HOME, value: /tmp}
- {name: EMBEDHOUSE_HOME, value: /var/lib/embedhouse}
- {name: EMBEDHOUSE_MODELS_FOLDER, value: {{ ternary "/var/cache/embedhouse" "/var/lib/embedhouse/models" (eq (include "embedhouse.isShared" .) "true") }}}
{{- if not (hasKey (default dict .Values.settings) "threads") }}
- name: EMBEDHOUSE_THREADS
  valueFrom:
    resourceFieldRef: {resource: limits.cpu, divisor: "1"}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: EMBEDHOUSE_{{ upper $name }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- include "embedhouse.secretEnv" . }}
{{- end -}}

{{/* Commands beside a server that has the volume go through that server. */}}
{{- define "embedhouse.throughServer" -}}
{{- if ne (include "embedhouse.isShared" .) "true" }}
- {name: EMBEDHOUSE_SERVER_URL, value: {{ include "embedhouse.serverUrl" . | quote }}}
{{- end }}
{{- end -}}

{{- define "embedhouse.mounts" -}}
- {name: home, mountPath: /var/lib/embedhouse}
- {name: tmp, mountPath: /tmp}
{{- if eq (include "embedhouse.isShared" .) "true" }}
- {name: models, mountPath: /var/cache/embedhouse}
{{- end }}
{{- end -}}

{{/* The volumes of a pod. Only the server has the claim; on shared stores nothing lasts in any of them. */}}
{{- define "embedhouse.volumes" -}}
{{- $root := .root -}}
- name: home
{{- if and .hasClaim (ne (include "embedhouse.isShared" $root) "true") }}
  persistentVolumeClaim: {claimName: {{ include "embedhouse.claim" $root | quote }}}
{{- else }}
  emptyDir: {sizeLimit: {{ $root.Values.tmp.sizeLimit }}}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: {{ $root.Values.tmp.sizeLimit }}}
{{- if eq (include "embedhouse.isShared" $root) "true" }}
- name: models
{{- if $root.Values.models.existingClaim }}
  persistentVolumeClaim: {claimName: {{ $root.Values.models.existingClaim | quote }}}
{{- else }}
  emptyDir: {sizeLimit: {{ $root.Values.models.sizeLimit }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the specs of all pods have in common. */}}
{{- define "embedhouse.podSpec" -}}
serviceAccountName: {{ .Values.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{- define "embedhouse.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "embedhouse.container" -}}
image: {{ include "embedhouse.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- end -}}
