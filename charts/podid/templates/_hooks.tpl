{{- /* Annotations of what is there only before the release goes. What failed stays, to be looked at. */ -}}
{{- define "podid.beforeDelete" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- /* Annotations of what is there only while helm test runs. */ -}}
{{- define "podid.onTest" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- /*
Annotations of the pod of helm test: it stays, so that kubectl logs has what it said,
until the next one or podid cleanup.
*/ -}}
{{- define "podid.onTestStays" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation
{{- end -}}
