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

{{- /* A duration such as 4m30s in seconds, rounded up. */ -}}
{{- define "podid.seconds" -}}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9.]+(ms|s|m|h)" . -1 }}
{{- $of := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) (regexFind "[a-z]+" .) }}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9.]+" . | float64) $of) }}
{{- end }}
{{- ceil $seconds | int64 }}
{{- end -}}
