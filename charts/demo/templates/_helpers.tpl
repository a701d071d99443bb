{{/* The labels of a part of the demo: (dict "root" $ "part" "shop"). */}}
{{- define "demo.labels" -}}
{{ include "demo.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "demo.selector" -}}
app.kubernetes.io/name: {{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "demo.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What every container of the demo has: the image's Python, the programs, and a token for the ledger. */}}
{{- define "demo.container" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
- {name: programs, mountPath: /demo, readOnly: true}
- {name: token, mountPath: /run/secrets/shieldx, readOnly: true}
{{- end }}

{{- define "demo.volumes" -}}
volumes:
- name: programs
  configMap: {name: demo-programs}
- name: token
  projected:
    sources:
    - serviceAccountToken: {path: token, audience: shieldx, expirationSeconds: 3600}
{{- end }}

{{- define "demo.ledgerEnvironment" -}}
- {name: LEDGER_URL, value: "http://credits-api.{{ .Release.Namespace }}.svc:5004"}
- {name: TOKEN_FILE, value: /run/secrets/shieldx/token}
{{- end }}
