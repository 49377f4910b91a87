{{/* Names and texts that several templates need. */}}

{{- /* Accounts: worker, gateway, and Kubernetes' own controllers. */ -}}
{{- define "sulku.worker" -}}
system:serviceaccount:{{ .Release.Namespace }}:worker
{{- end }}

{{- define "sulku.controller" -}}
system:serviceaccount:kube-system:
{{- end }}

{{- define "sulku.labels" -}}
app.kubernetes.io/name: sulku
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* A list of texts as CEL has it: ['a', 'b']. */ -}}
{{- define "sulku.list" -}}
[{{ range $place, $one := . }}{{ if $place }}, {{ end }}'{{ $one }}'{{ end }}]
{{- end }}

{{- /* What makes a policy count, for everything that it matches. */ -}}
{{- define "sulku.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}.tunnels.sulku.internal
  labels: {{- include "sulku.labels" .context | nindent 4 }}
spec:
  policyName: {{ .name }}.tunnels.sulku.internal
  validationActions: [Deny]
{{- end }}

{{- /* Every namespace that has the label, whatever its value. */ -}}
{{- define "sulku.tunnels" -}}
matchPolicy: Equivalent
objectSelector: {}
namespaceSelector:
  matchExpressions:
    - key: sulku.internal/tunnel
      operator: Exists
{{- end }}

{{- /* Everywhere. */ -}}
{{- define "sulku.everywhere" -}}
matchPolicy: Equivalent
objectSelector: {}
namespaceSelector: {}
{{- end }}
