{{- /* Whether this is an upgrade of a release that the definitions belong to. */ -}}
{{- define "podid.upgradesCRDs" -}}
{{- if and .Release.IsUpgrade .Values.crds.upgrade -}}
{{- if not (include "podid.foreignCRDs" .) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* The definitions that are there and belong to another release, or to none. */ -}}
{{- define "podid.foreignCRDs" -}}
{{- $foreign := list -}}
{{- range $file, $_ := .Files.Glob "crds/*.yaml" -}}
{{- $name := ($.Files.Get $file | fromYaml).metadata.name -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- if or (ne (get $annotations "meta.helm.sh/release-name") $.Release.Name) (ne (get $annotations "meta.helm.sh/release-namespace") $.Release.Namespace) (ne (get (.metadata.labels | default dict) "app.kubernetes.io/managed-by") "Helm") -}}
{{- $foreign = append $foreign $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join " " $foreign -}}
{{- end -}}
