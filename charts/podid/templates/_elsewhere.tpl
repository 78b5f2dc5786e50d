{{- /* Locks by which a MIC of AAD Pod Identity says that it leads, in JSON; none means mic's default. In an old file of values leaderElection says what MIC locks, and so podid looks there too. */ -}}
{{- define "podid.legacyLocks" -}}
{{- $locks := .Values.mic.legacyLocks -}}
{{- $election := .Values.mic.leaderElection | default dict -}}
{{- if and (not $locks) (include "podid.compatible" .) (or $election.namespace $election.name) -}}
{{- $usual := "aad-pod-identity-mic" -}}
{{- $locks = list (printf "%s/%s" ($election.namespace | default "default") ($election.name | default $usual)) (printf "default/%s" $usual) (printf "%s/%s" .Release.Namespace $usual) -}}
{{- end -}}
{{- uniq ($locks | default list) | toJson -}}
{{- end -}}

{{- /* What mic needs in other namespaces: its Lease, and locks of AAD Pod Identity. */ -}}
{{- define "podid.elsewhere" -}}
{{- $full := include "podid.fullname" . -}}
{{- $election := .Values.mic.leaderElection | default dict -}}
{{- if and $election.namespace (ne $election.namespace .Release.Namespace) -}}
{{- $rules := list
  (dict "apiGroups" (list "coordination.k8s.io") "resources" (list "leases") "verbs" (list "create"))
  (dict "apiGroups" (list "coordination.k8s.io") "resources" (list "leases") "resourceNames" (list ($election.name | default "podid-mic")) "verbs" (list "get" "update")) -}}
{{- include "podid.role" (dict "root" . "name" (printf "%s-mic-lease" $full) "namespace" $election.namespace "rules" $rules) -}}
{{- end -}}
{{- $names := dict -}}
{{- range include "podid.legacyLocks" . | fromJsonArray -}}
{{- $namespace := splitList "/" . | first -}}
{{- $_ := set $names $namespace (append (get $names $namespace | default list) (splitList "/" . | last)) -}}
{{- end -}}
{{- range $namespace, $locks := $names -}}
{{- $rules := list (dict "apiGroups" (list "") "resources" (list "endpoints") "resourceNames" $locks "verbs" (list "get" "list" "watch")) -}}
{{- include "podid.role" (dict "root" $ "name" (printf "%s-mic-legacy-lock" $full) "namespace" $namespace "rules" $rules) -}}
{{- end -}}
{{- end -}}

{{- /* A role in a namespace, and its binding to mic. */ -}}
{{- define "podid.role" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "podid.labels" (dict "root" .root "component" "mic") | nindent 4 }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "podid.labels" (dict "root" .root "component" "mic") | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "podid.fullname" .root }}-mic
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
