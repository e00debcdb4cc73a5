{{/* The name that all objects begin with: the release's, which says "hawser". */}}
{{- define "hawser.name" -}}
{{- if contains "hawser" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-hawser{{ end -}}
{{- end -}}

{{- define "hawser.selector" -}}
app.kubernetes.io/name: hawser
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hawser.labels" -}}
{{ include "hawser.selector" . }}
app.kubernetes.io/part-of: hawser
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "hawser.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* What the other values must grant, so that the plans can do what they say. */}}
{{- define "hawser.check" -}}
{{- $url := .Values.config.store.url -}}
{{- if and (hasPrefix "file://" $url) (not .Values.store.persistentVolumeClaim) -}}
{{- fail (printf "config.store.url %s is a folder: name the claim to mount there in store.persistentVolumeClaim" $url) -}}
{{- end -}}
{{- if and .Values.store.persistentVolumeClaim (not (hasPrefix "file://" $url)) -}}
{{- fail "store.persistentVolumeClaim is for stores whose config.store.url begins with file://" -}}
{{- end -}}
{{- if and .Values.prune.credentialsSecret (ne .Values.prune.by "cronjob") -}}
{{- fail (printf "prune.credentialsSecret is for the CronJob, and prune.by is %s" .Values.prune.by) -}}
{{- end -}}
{{- range .Values.config.plans -}}
{{- if and (dig "include" "secrets" false .) (not $.Values.includeSecrets) -}}
{{- fail (printf "plan %s includes Secrets: set includeSecrets, so that backups may read them" .name) -}}
{{- end -}}
{{- if and (dig "drill" "schedule" "" .) (not $.Values.drill.enabled) -}}
{{- fail (printf "plan %s has drill.schedule: set drill.enabled, so that the agent may hold drills" .name) -}}
{{- end -}}
{{- if and .hooks (not $.Values.hooks.namespaces) -}}
{{- fail (printf "plan %s has hooks: list the namespaces of their Pods in hooks.namespaces, so that the agent may run them" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration file. */}}
{{- define "hawser.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.store.caConfigMap -}}
{{- $url := .Values.config.store.url -}}
{{- $_ := set $config.store "url" (printf "%s%sca-file=/etc/hawser/ca.crt" $url (ternary "&" "?" (contains "?" $url))) -}}
{{- end -}}
{{- range $config.notify -}}
{{- if hasKey . "true" -}}{{/* what YAML 1.1, which Helm reads, makes of a key "on" */}}
{{- $_ := set . "on" (index . "true") -}}
{{- $_ := unset . "true" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "agent" (dict "listen" ":8080") -}}
{{- $schedule := ternary .Values.prune.schedule "" (eq .Values.prune.by "agent") -}}
{{- $_ := set $config "prune" (dict "schedule" $schedule "grace" .Values.prune.grace) -}}
{{ toYaml $config }}
{{- end -}}

{{- define "hawser.configKind" -}}
{{ ternary "Secret" "ConfigMap" (not (empty .Values.config.notify)) }}
{{- end -}}

{{/* The port of a URL, given as (list URL). */}}
{{- define "hawser.port" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end -}}

{{/* The URL of the S3 endpoint. */}}
{{- define "hawser.endpoint" -}}
{{- $query := (urlParse .Values.config.store.url).query | replace "%3A" ":" | replace "%3a" ":" | replace "%2F" "/" | replace "%2f" "/" -}}
{{- regexFind "(^|&)endpoint=[^&]+" $query | trimPrefix "&" | trimPrefix "endpoint=" | default "https://s3.amazonaws.com" -}}
{{- end -}}

{{/* What the Pods of the agent and of pruning have in common. */}}
{{- define "hawser.podLabels" -}}
{{ include "hawser.labels" . }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "hawser.podSpec" -}}
automountServiceAccountToken: true
enableServiceLinks: false # no variables but those below
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
volumes:
- name: config
  projected:
    sources:
    {{- if eq (include "hawser.configKind" .) "Secret" }}
    - secret: {name: {{ include "hawser.name" . }}-config}
    {{- else }}
    - configMap: {name: {{ include "hawser.name" . }}-config}
    {{- end }}
    {{- with .Values.store.caConfigMap }}
    - configMap: {name: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
    {{- end }}
{{- with .Values.store.persistentVolumeClaim }}
- name: store
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- end -}}

{{/* And their container, given as (list ROOT SECRET) with the Secret of the store's credentials. */}}
{{- define "hawser.container" -}}
{{- $root := index . 0 -}}
{{- $secret := index . 1 -}}
image: {{ include "hawser.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
env:
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- if $secret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: AWS_ACCESS_KEY_ID}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: AWS_SECRET_ACCESS_KEY}}
- name: AWS_SESSION_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: AWS_SESSION_TOKEN, optional: true}}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml $root.Values.resources | nindent 2 }}
volumeMounts:
# The folder, not the file alone: a file mounted by itself never changes.
- {name: config, mountPath: /etc/hawser, readOnly: true}
{{- if $root.Values.store.persistentVolumeClaim }}
- {name: store, mountPath: {{ trimPrefix "file://" $root.Values.config.store.url }}}
{{- end }}
{{- end -}}

{{/* The binding of a ClusterRole to a ServiceAccount, given as (list ROOT ROLE ACCOUNT). */}}
{{- define "hawser.binding" -}}
{{- $root := index . 0 -}}
{{- $role := printf "%s-%s" (include "hawser.name" $root) (index . 1) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $role }}
  labels:
    {{- include "hawser.labels" $root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $role }}}
subjects:
- {kind: ServiceAccount, name: {{ include "hawser.name" $root }}-{{ index . 2 }}, namespace: {{ $root.Release.Namespace }}}
{{- end -}}
