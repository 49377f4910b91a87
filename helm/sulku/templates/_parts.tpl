{{/* What all of our own pods have in common. */}}

{{- define "sulku.selector" -}}
app.kubernetes.io/name: sulku
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- /* Name, namespace and labels of an object of a part. */ -}}
{{- define "sulku.meta" -}}
name: {{ .name | default .part }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "sulku.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- /* Labels of a pod, and the digest of what it reads at its start (`told`, a template): a change of that starts it anew, and nothing else does. */ -}}
{{- define "sulku.podmeta" -}}
labels: {{- include "sulku.selector" . | nindent 2 }}
{{- with .told }}
annotations:
  sulku.internal/told: {{ include (print $.root.Template.BasePath "/" .) $.root | sha256sum | trunc 16 }}
{{- end }}
{{- end }}

{{- /* part; account (one of rbac.yaml's, or none); token and links only where they are needed. */ -}}
{{- define "sulku.pod" -}}
serviceAccountName: {{ .account | default "default" }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: {{ .links | default false }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "sulku.selector" . | nindent 8 }}
{{- end }}

{{- define "sulku.secure" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* The beginning of a container: name, image of the values, resources, hardening. */ -}}
{{- define "sulku.container" -}}
name: {{ .name }}
image: {{ .image | default (index .root.Values.images (.kind | default "server")) }}
imagePullPolicy: {{ .root.Values.images.pull }}
resources: {{- toYaml (index .root.Values.resources (.sized | default .name)) | nindent 2 }}
{{ include "sulku.secure" . }}
{{- end }}

{{- /* A part of ours that is told by settings: broker, worker, issuer, prepare. */ -}}
{{- define "sulku.told" -}}
envFrom:
  - configMapRef: {name: settings}
{{- end }}

{{- define "sulku.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: state, mountPath: /var/lib/sulku}
- {name: database, mountPath: /run/sulku/database, readOnly: true}
{{- end }}

{{- /* Mounts of who has keys: broker, worker, prepare. */ -}}
{{- define "sulku.keyed" -}}
{{ include "sulku.mounts" . }}
- {name: tokens, mountPath: /var/lib/sulku/secrets, readOnly: true}
- {name: certificate, mountPath: /run/sulku/certificate, readOnly: true}
{{ include "sulku.policies" . }}
{{- end }}

{{- /* Signed policies and the key that vouches for them, where they are not those of the image. */ -}}
{{- define "sulku.policies" -}}
{{- if .Values.policies.bundle }}
- {name: policies, mountPath: /run/sulku/policies, readOnly: true}
{{- end }}
{{- if .Values.policies.key }}
- {name: policies-key, mountPath: /run/sulku/policies-key, readOnly: true}
{{- end }}
{{- end }}

{{- /* The volumes to these; `state` is the claim, or scratch where nothing is kept. */ -}}
{{- define "sulku.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 128Mi}
- name: state
  {{- if .scratch }}
  emptyDir: {sizeLimit: 128Mi}
  {{- else }}
  persistentVolumeClaim: {claimName: {{ include "sulku.claim" (dict "name" "state" "volume" .root.Values.state) }}}
  {{- end }}
- name: database
  secret:
    secretName: {{ .root.Values.database.existingSecret | default "database" }}
    defaultMode: 0440
    items: [{key: password, path: password}]
{{- end }}

{{- define "sulku.keys" -}}
{{ include "sulku.volumes" . }}
- name: tokens
  secret: {secretName: {{ .root.Values.secrets.tokens | default "tokens" }}, defaultMode: 0440}
{{- with .root.Values.policies.bundle }}
- name: policies
  configMap: {name: {{ . }}}
{{- end }}
{{- if .root.Values.policies.key }}
- name: policies-key
  configMap: {name: policies-key}
{{- end }}
{{ include "sulku.certificate" . }}
{{- end }}

{{- /* The key of the pages' cookies. */ -}}
{{- define "sulku.session" -}}
- name: session
  secret: {secretName: {{ .root.Values.secrets.session | default "session" }}, defaultMode: 0440, items: [{key: broker, path: key}]}
{{- end }}

{{- define "sulku.certificate" -}}
- name: certificate
  secret: {secretName: {{ index .root.Values.certificates .part | default (print "certificate-" .part) }}, defaultMode: 0440}
{{- end }}

{{- /* name and volume ({existingClaim, hostPath}) → the claim's name; empty: nothing is to be kept. */ -}}
{{- define "sulku.claim" -}}
{{- if .volume.existingClaim }}{{ .volume.existingClaim }}{{ else if .volume.hostPath }}{{ .name }}{{ end }}
{{- end }}

{{- /* A step of hub/images/server/steps.py before a part starts. */ -}}
{{- define "sulku.wait" -}}
- {{ include "sulku.container" (dict "root" .root "name" "wait" "sized" "steps") | nindent 2 | trim }}
  command: [python, bin/steps.py, wait]
  {{- include "sulku.told" . | nindent 2 }}
  volumeMounts: {{- include "sulku.mounts" . | nindent 4 }}
{{- end }}

{{- /* Policy, beside whoever asks it: the signed bundle is laid out, then the server that takes nothing but it starts and lives as long as the pod. */ -}}
{{- define "sulku.opa" -}}
- {{ include "sulku.container" (dict "root" .root "name" "rules" "sized" "steps") | nindent 2 | trim }}
  command: [python, bin/steps.py, rules, /rules]
  {{- include "sulku.told" . | nindent 2 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: rules, mountPath: /rules}
    {{- include "sulku.policies" .root | nindent 4 }}
- {{ include "sulku.container" (dict "root" .root "name" "opa" "kind" "opa") | nindent 2 | trim }}
  restartPolicy: Always
  args:
    - run
    - --server
    - --addr=127.0.0.1:8181
    - --diagnostic-addr=0.0.0.0:8282
    - --log-level=error
    - --skip-version-check
    - --authorization=basic # by the bundle's own system.authz: questions, and nothing that changes anything
    - --verification-key=/rules/key.pem
    - --signing-alg=ES256
    - --scope=sulku
    - --bundle
    - /rules/bundle.tar.gz
  startupProbe: {httpGet: {path: /health, port: 8282}, periodSeconds: 1, failureThreshold: 60}
  livenessProbe: {httpGet: {path: /health, port: 8282}, periodSeconds: 10}
  volumeMounts:
    - {name: rules, mountPath: /rules, readOnly: true}
{{- end }}

{{- define "sulku.opavolumes" -}}
- name: rules
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end }}

{{- define "sulku.redisPort" -}}
{{ regexFind "[0-9]+$" (urlParse (.Values.redis.url | default "redis://redis:6379")).host | default "6379" }}
{{- end }}
