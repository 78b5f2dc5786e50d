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
