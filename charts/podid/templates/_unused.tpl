{{- /* Values of AAD Pod Identity's chart that were set and mean nothing here. */ -}}
{{- define "podid.unused" -}}
{{- $m := .Values.mic -}}
{{- $n := .Values.nmi -}}
{{- $unused := list -}}
{{- range $key := list "createDeleteBatch" "syncRetryDuration" "updateUserMSIMaxRetry" "updateUserMSIRetryInterval" -}}
{{- if ne (toString (get $m $key)) "" }}{{ $unused = append $unused (printf "mic.%s" $key) }}{{ end -}}
{{- end -}}
{{- if ($m.leaderElection).instance }}{{ $unused = append $unused "mic.leaderElection.instance" }}{{ end -}}
{{- if ne (int $m.logVerbosity) 0 }}{{ $unused = append $unused "mic.logVerbosity (use mic.logLevel)" }}{{ end -}}
{{- range $key := list "subscriptionID" "resourceGroup" "vmType" -}}
{{- if get ($.Values.adminsecret | default dict) $key }}{{ $unused = append $unused (printf "adminsecret.%s (nodes say where they are)" $key) }}{{ end -}}
{{- end -}}
{{- if $n.probePort }}{{ $unused = append $unused "nmi.probePort" }}{{ end -}}
{{- if $n.micNamespace }}{{ $unused = append $unused "nmi.micNamespace" }}{{ end -}}
{{- if not (or (kindIs "invalid" $n.enableScaleFeatures) (include "podid.yes" $n.enableScaleFeatures)) }}{{ $unused = append $unused "nmi.enableScaleFeatures" }}{{ end -}}
{{- if ne ($n.kubeletConfig | default "/etc/default/kubelet") "/etc/default/kubelet" }}{{ $unused = append $unused "nmi.kubeletConfig" }}{{ end -}}
{{- range $key := list "setRetryAfterHeader" "enableConntrackDeletion" -}}
{{- if include "podid.yes" (get $n $key) }}{{ $unused = append $unused (printf "nmi.%s" $key) }}{{ end -}}
{{- end -}}
{{- if ne (int $n.logVerbosity) 0 }}{{ $unused = append $unused "nmi.logVerbosity (use nmi.logLevel)" }}{{ end -}}
{{- if .Values.rbac.pspEnabled }}{{ $unused = append $unused "rbac.pspEnabled" }}{{ end -}}
{{- toJson $unused -}}
{{- end -}}
