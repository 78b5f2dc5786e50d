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
{{- $args := include "podid.nmiExtraArgs" . | fromJsonArray -}}
{{- $keeps := eq (include "podid.lastBool" (dict "args" $args "flag" "--remove-redirect-on-exit")) "false" -}}
{{- /* One list for what is said by nmi.extraArgs: with --set a second one replaces the first. */ -}}
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
{{- $args := include "podid.nmiExtraArgs" . | fromJsonArray -}}
{{- $families := $n.passThrough | default list -}}
{{- $said := not (empty $families) -}}
{{- range $args -}}
{{- if hasPrefix "--pass-through=" . -}}
{{- $said = true -}}
{{- $families = concat $families (trimPrefix "--pass-through=" . | splitList ",") -}}
{{- end -}}
{{- end -}}
{{- if not $said }}{{ $families = list "instance" "userdata" "attested" "scheduledevents" "loadbalancer" "versions" }}{{ end -}}
{{- /* nmi.extraArgs come after what values of their own say. */ -}}
{{- $blocked := include "podid.lastBool" (dict "args" $args "flag" "--block-instance-metadata") -}}
{{- if or (eq $blocked "true") (and (not $blocked) (include "podid.yes" $n.blockInstanceMetadata)) }}{{ $families = without $families "instance" "userdata" }}{{ end -}}
{{- compact $families | uniq | toJson -}}
{{- end -}}

{{- /* nmi.extraArgs with --pass-through and its value in one, as nmi takes them, in JSON. */ -}}
{{- define "podid.nmiExtraArgs" -}}
{{- $args := list -}}
{{- $bare := false -}}
{{- range .Values.nmi.extraArgs -}}
{{- if $bare -}}
{{- $args = append $args (printf "--pass-through=%s" .) -}}
{{- $bare = false -}}
{{- else if eq . "--pass-through" -}}
{{- $bare = true -}}
{{- else -}}
{{- $args = append $args . -}}
{{- end -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}

{{- /* What arguments make of a flag that is true or false, as nmi reads them: the last counts. Empty where none says it. */ -}}
{{- define "podid.lastBool" -}}
{{- $last := "" -}}
{{- $with := printf "%s=" .flag -}}
{{- range .args -}}
{{- $value := trimPrefix $with . -}}
{{- if or (eq . $.flag) (and (hasPrefix $with .) (has $value (list "1" "t" "T" "true" "TRUE" "True"))) }}{{ $last = "true" }}{{ end -}}
{{- if and (hasPrefix $with .) (has $value (list "0" "f" "F" "false" "FALSE" "False")) }}{{ $last = "false" }}{{ end -}}
{{- end -}}
{{- $last -}}
{{- end -}}

{{- /* nmi.extraArgs but what passes metadata on, in JSON. */ -}}
{{- define "podid.withoutPassThrough" -}}
{{- $args := list -}}
{{- range include "podid.nmiExtraArgs" . | fromJsonArray -}}
{{- if not (hasPrefix "--pass-through=" .) }}{{ $args = append $args . }}{{ end -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}
