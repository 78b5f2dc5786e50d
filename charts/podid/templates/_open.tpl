{{- /* What compatibility leaves open, as podid doctor says it, and what shuts it: a sentence for each, in JSON. */ -}}
{{- define "podid.open" -}}
{{- $v := .Values -}}
{{- $n := $v.nmi -}}
{{- $open := list -}}
{{- if include "podid.across" . -}}
{{- $open = append $open "pods match bindings of other namespaces, and identities name Secrets of other namespaces: forceNamespaced=true" -}}
{{- end -}}
{{- if or (not $v.exceptionNamespaces) (has "*" $v.exceptionNamespaces) -}}
{{- $open = append $open (printf "exceptions count in every namespace: 'exceptionNamespaces={kube-system,%s}'" .Release.Namespace) -}}
{{- end -}}
{{- $families := include "podid.openFamilies" . | fromJsonArray -}}
{{- $keeps := has "--remove-redirect-on-exit=false" $n.extraArgs -}}
{{- /* One list for what is said by nmi.extraArgs: with --set a second one replaces the first. */ -}}
{{- $args := $n.extraArgs | default list -}}
{{- if $families }}{{ $args = append (include "podid.withoutPassThrough" . | fromJsonArray) "--pass-through=" }}{{ end -}}
{{- if not $keeps }}{{ $args = append $args "--remove-redirect-on-exit=false" }}{{ end -}}
{{- $set := list -}}
{{- range $args }}{{ $set = append $set (. | replace "," "\\,") }}{{ end -}}
{{- $set = printf "nmi.extraArgs={%s}" (join "," $set) -}}
{{- with $families -}}
{{- $none := $set -}}
{{- if $n.passThrough }}{{ $none = printf "nmi.passThrough=null,%s" $set }}{{ end -}}
{{- $open = append $open (printf "pods read the node's metadata (%s): nmi.passThrough with those that they need, or for none '%s'" (join ", " .) $none) -}}
{{- end -}}
{{- if include "podid.old" (dict "root" . "value" $n.hostToken) -}}
{{- $open = append $open "root of a node can ask for tokens of its pods that mount a volume of the Secrets Store CSI driver: nmi.hostToken=false" -}}
{{- end -}}
{{- if not $keeps -}}
{{- $open = append $open (printf "the redirect goes when nmi ends: '%s'" $set) -}}
{{- end -}}
{{- if and $v.rbac.enabled (include "podid.old" (dict "root" . "value" $v.rbac.allowAccessToSecrets)) -}}
{{- $open = append $open "nmi reads the Secrets of all namespaces: rbac.allowAccessToSecrets=false" -}}
{{- end -}}
{{- if ne (toString ($v.policies).define) "true" -}}
{{- $open = append $open "who may write an AzureIdentity defines one of any id: policies.define=true" -}}
{{- end -}}
{{- toJson $open -}}
{{- end -}}

{{- /* Families of metadata that nmi passes on with compatibility, in JSON: all, where its flag is not said; what is said twice adds up. */ -}}
{{- define "podid.openFamilies" -}}
{{- $n := .Values.nmi -}}
{{- $families := $n.passThrough | default list -}}
{{- $said := not (empty $families) -}}
{{- $blocked := include "podid.yes" $n.blockInstanceMetadata -}}
{{- range $n.extraArgs -}}
{{- if hasPrefix "--pass-through=" . -}}
{{- $said = true -}}
{{- $families = concat $families (trimPrefix "--pass-through=" . | splitList ",") -}}
{{- end -}}
{{- if or (eq . "--block-instance-metadata") (eq . "--block-instance-metadata=true") }}{{ $blocked = "yes" }}{{ end -}}
{{- end -}}
{{- if not $said }}{{ $families = list "instance" "userdata" "attested" "scheduledevents" "loadbalancer" "versions" }}{{ end -}}
{{- if $blocked }}{{ $families = without $families "instance" "userdata" }}{{ end -}}
{{- compact $families | uniq | toJson -}}
{{- end -}}

{{- /* nmi.extraArgs but what passes metadata on, in JSON. */ -}}
{{- define "podid.withoutPassThrough" -}}
{{- $args := list -}}
{{- range .Values.nmi.extraArgs -}}
{{- if not (hasPrefix "--pass-through=" .) }}{{ $args = append $args . }}{{ end -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}
