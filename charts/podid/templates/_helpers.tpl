{{- define "podid.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "podid.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "podid.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "podid.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What finds the pods of a component. The name is always podid: mic looks for nmi by it. */ -}}
{{- define "podid.selector" -}}
app.kubernetes.io/name: podid
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "podid.labels" -}}
app.kubernetes.io/name: podid
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: podid
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "podid.image" -}}
{{- $own := index .root.Values .component -}}
{{- printf "%s/%s:%s" (trimSuffix "/" .root.Values.image.repository) $own.image ($own.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}

{{- /* Values that were strings in AAD Pod Identity's chart: whether one says yes. */ -}}
{{- define "podid.yes" -}}
{{- if eq (lower (toString .)) "true" }}yes{{ end -}}
{{- end -}}

{{- define "podid.standard" -}}
{{- if eq .Values.operationMode "standard" }}yes{{ end -}}
{{- end -}}

{{- define "podid.compatible" -}}
{{- if eq .Values.compatibility "aad-pod-identity" }}yes{{ end -}}
{{- end -}}

{{- /* Whether pods match bindings of other namespaces, as mic and nmi will see it. */ -}}
{{- define "podid.across" -}}
{{- if include "podid.standard" . -}}
{{- if or .Values.allowCrossNamespace (and (include "podid.compatible" .) (not (include "podid.yes" .Values.forceNamespaced))) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* A value that is empty means "as compatibility has it". */ -}}
{{- define "podid.old" -}}
{{- if kindIs "invalid" .value | or (eq (toString .value) "") -}}
{{- include "podid.compatible" .root -}}
{{- else -}}
{{- include "podid.yes" .value -}}
{{- end -}}
{{- end -}}

{{- /* Path of azure.json on the node, where mic reads it there: adminsecret replaces it, as it did. */ -}}
{{- define "podid.cloudConfig" -}}
{{- if .Values.adminsecret -}}
{{- else if .Values.mic.cloudConfig -}}
{{- .Values.mic.cloudConfig -}}
{{- else if and (include "podid.compatible" .) (not (or .Values.mic.cloudConfigSecret (.Values.mic.workloadIdentity).clientID (.Values.mic.managedIdentity).clientID)) -}}
/etc/kubernetes/azure.json
{{- end -}}
{{- end -}}

{{- /* The managed identity by which mic asks its node's nmi, where that can be known. */ -}}
{{- define "podid.micClient" -}}
{{- $m := .Values.mic -}}
{{- if ($m.managedIdentity).clientID -}}
{{- $m.managedIdentity.clientID -}}
{{- else if .Values.adminsecret -}}
{{- if include "podid.yes" .Values.adminsecret.useMSI -}}
{{- .Values.adminsecret.userAssignedMSIClientID | default "system-assigned" -}}
{{- end -}}
{{- else if not (or ($m.workloadIdentity).clientID $m.cloudConfigSecret (include "podid.cloudConfig" .)) -}}
system-assigned
{{- end -}}
{{- end -}}

{{- /*
A file of config/, with the release's namespace and names in it, and the labels.
"drop" is a list of kind/namespace/name that are left out.
*/ -}}
{{- define "podid.manifest" -}}
{{- $root := .root -}}
{{- $drop := .drop | default list -}}
{{- $full := include "podid.fullname" $root -}}
{{- $text := $root.Files.Get .file | replace "podid-system" $root.Release.Namespace | replace "name: podid-" (printf "name: %s-" $full) -}}
{{- range $pair := .replace -}}
{{- $text = $text | replace (first $pair) (last $pair) -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $doc := splitList "\n---\n" $text -}}
{{- $object := fromYaml $doc -}}
{{- if $object.kind -}}
{{- $id := printf "%s/%s/%s" $object.kind ($object.metadata.namespace | default "") $object.metadata.name -}}
{{- if not (or (has $id $drop) (hasKey $seen $id)) -}}
{{- $_ := set $seen $id true -}}
{{- $labels := include "podid.labels" (dict "root" $root) | fromYaml -}}
{{- $_ := set $object.metadata "labels" (merge $labels ($object.metadata.labels | default dict)) }}
---
{{ toYaml $object }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
