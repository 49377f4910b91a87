{{/* Who of ours may connect to whom, the whole list: networks.yaml makes the policies of it, tests compare it with src/sulku/links.py. */}}

{{- define "sulku.edges" -}}
{{- /* Between parts, by mutual TLS. */ -}}
- {to: broker, port: 8443, from: [gateway, hub]}
- {to: gateway, port: 8444, from: [broker, hub, worker]}
- {to: hub, port: 8445, from: [broker, worker]}
{{- /* What keeps, and what proves. */}}
{{- if not .Values.database.url }}
- {to: postgres, port: 5432, from: [broker, issuer, prepare, worker]}
{{- end }}
{{- if not .Values.redis.url }}
- {to: redis, port: 6379, from: [worker]}
{{- end }}
- {to: canary, port: 7000, udp: true, from: [worker]} # to see that it is alive, each round
- {to: canary, port: 7001, from: [worker]}
{{- if .Values.issuer.development }}
- {to: issuer, port: 8082, from: [broker]}
{{- end }}
{{- end }}

{{- /* Parts that people's browsers come to, by what is in front. */ -}}
{{- define "sulku.entrances" -}}
{broker: 8080, gateway: 8081{{ if .Values.issuer.development }}, issuer: 8082{{ end }}}
{{- end }}

{{- /* Parts that call others by name. */ -}}
{{- define "sulku.askers" -}}
[broker, gateway, hub, issuer, prepare, worker]
{{- end }}

{{- /* Parts that run, each with a policy of its own; `prepare` runs once an upgrade. */ -}}
{{- define "sulku.parts" -}}
- broker
- canary
- gateway
- hub
{{- if .Values.issuer.development }}
- issuer
{{- end }}
{{- if not .Values.database.url }}
- postgres
{{- end }}
- prepare
{{- if not .Values.redis.url }}
- redis
{{- end }}
- worker
{{- end }}

{{- /* The API servers: as the operator says, or where Kubernetes says they are. */ -}}
{{- define "sulku.api" -}}
{{- if .Values.network.api }}{{ toYaml .Values.network.api }}{{ else }}
{{- $found := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" }}
{{- range $endpoint := $found.endpoints }}{{ range $address := $endpoint.addresses }}{{ range $port := $found.ports }}
- {cidr: {{ $address }}/{{ ternary 128 32 (contains ":" $address) }}, port: {{ $port.port }}}
{{- end }}{{ end }}{{ end }}
{{- end }}
{{- end }}
