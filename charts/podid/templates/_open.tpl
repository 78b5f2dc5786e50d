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
{{- $families := $n.passThrough | default (list "instance" "userdata" "attested" "scheduledevents" "loadbalancer" "versions") -}}
{{- if include "podid.yes" $n.blockInstanceMetadata }}{{ $families = without $families "instance" "userdata" }}{{ end -}}
{{- with $families -}}
{{- $open = append $open (printf "pods read the node's metadata (%s): nmi.passThrough with those that they need, or --pass-through= in nmi.extraArgs for none" (join ", " .)) -}}
{{- end -}}
{{- if include "podid.old" (dict "root" . "value" $n.hostToken) -}}
{{- $open = append $open "root of a node can ask for tokens of its pods that mount a volume of the Secrets Store CSI driver: nmi.hostToken=false" -}}
{{- end -}}
{{- if not (has "--remove-redirect-on-exit=false" $n.extraArgs) -}}
{{- $open = append $open "the redirect goes when nmi ends: --remove-redirect-on-exit=false in nmi.extraArgs" -}}
{{- end -}}
{{- if and $v.rbac.enabled (include "podid.old" (dict "root" . "value" $v.rbac.allowAccessToSecrets)) -}}
{{- $open = append $open "nmi reads the Secrets of all namespaces: rbac.allowAccessToSecrets=false" -}}
{{- end -}}
{{- if ne (toString $v.policies.define) "true" -}}
{{- $open = append $open "who may write an AzureIdentity defines one of any id: policies.define=true" -}}
{{- end -}}
{{- toJson $open -}}
{{- end -}}
