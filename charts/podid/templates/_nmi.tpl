{{- /* nmi's flags. Its health is asked on the socket that is its default. */ -}}
{{- define "podid.nmiFlags" -}}
{{- $v := .Values -}}
{{- $n := $v.nmi -}}
- --operation-mode={{ $v.operationMode }}
- --cloud={{ include "podid.nmiCloud" . }}
- --metrics-listen=:{{ $n.prometheusPort | default 9090 }}
- --audit={{ $n.audit }}
- --log-level={{ $n.logLevel }}
{{- if eq $n.redirect "none" }}
- --redirect=none
- --listen=$(HOST_IP):2579
{{- end }}
{{- with $v.compatibility }}
- --compatibility={{ . }}
{{- end }}
{{- if $v.allowCrossNamespace }}
- --allow-cross-namespace
{{- end }}
{{- if and (include "podid.compatible" .) (include "podid.yes" $v.forceNamespaced) }}
- --allow-cross-namespace=false
{{- end }}
{{- with $v.exceptionNamespaces }}
- --exception-namespaces={{ join "," . }}
{{- end }}
{{- if and $v.startupTaint (not (include "podid.standard" .)) }}
- --startup-taint={{ $v.startupTaint }}
{{- end }}
{{- if include "podid.standard" . }}
{{- with include "podid.micClient" . }}
- --mic-service-account={{ $.Release.Namespace }}/{{ include "podid.fullname" $ }}-mic
- --mic-client-id={{ . }}
{{- end }}
{{- end }}
{{- with $v.customUserAgent }}
- --custom-user-agent={{ . }}
{{- end }}
{{- if $v.caBundle }}
- --ca-file=/etc/podid/ca/ca.pem
{{- end }}
{{ include "podid.nmiOwnFlags" . }}
{{- end -}}

{{- /* Those that come from values of nmi's own. */ -}}
{{- define "podid.nmiOwnFlags" -}}
{{- $n := .Values.nmi -}}
- --metadata-header-required={{ $n.metadataHeaderRequired }}
{{- if $n.allowNetworkPluginKubenet }}
- --accept-bridged-pods
{{- end }}
{{- if not (or (kindIs "invalid" $n.hostToken) (eq (toString $n.hostToken) "")) }}
- --host-token={{ if include "podid.yes" $n.hostToken }}true{{ else }}false{{ end }}
{{- end }}
{{- with $n.passThrough }}
- --pass-through={{ join "," . }}
{{- end }}
{{- if include "podid.yes" $n.blockInstanceMetadata }}
- --block-instance-metadata
{{- end }}
{{- with $n.authorityHosts }}
- --authority-hosts={{ join "," . }}
{{- end }}
{{- with $n.redirectInterval }}
- --redirect-interval={{ . }}
{{- end }}
{{- with $n.ipTableUpdateTimeIntervalInSeconds }}
- --redirect-interval={{ . }}s
{{- end }}
{{- with $n.hold }}
- --hold={{ . }}
{{- end }}
{{- with $n.retryAttemptsForCreated }}
- --retry-attempts-for-created={{ . }}
{{- end }}
{{- with $n.retryAttemptsForAssigned }}
- --retry-attempts-for-assigned={{ . }}
{{- end }}
{{- with $n.findIdentityRetryIntervalInSeconds }}
- --find-identity-retry-interval={{ . }}
{{- end }}
{{- with $n.podRate }}
- --pod-rate={{ . }}
{{- end }}
{{- with $n.loggingFormat }}
- --log-format={{ . }}
{{- end }}
{{- with $n.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* nmi knows the three clouds; hosts of another go to nmi.authorityHosts. */ -}}
{{- define "podid.nmiCloud" -}}
{{- $cloud := (.Values.adminsecret).cloud | default .Values.azure.cloud -}}
{{- if eq $cloud "AzureStackCloud" }}AzurePublicCloud{{ else }}{{ $cloud }}{{ end -}}
{{- end -}}

{{- /* The new agent comes before the old one goes; where there is one port for both, after. */ -}}
{{- define "podid.nmiUpdate" -}}
{{- if .Values.nmi.updateStrategy -}}
{{- toYaml .Values.nmi.updateStrategy -}}
{{- else -}}
type: RollingUpdate
rollingUpdate: {{ if eq .Values.nmi.redirect "none" }}{maxSurge: 0, maxUnavailable: 1}{{ else }}{maxSurge: 1, maxUnavailable: 0}{{ end }}
{{- end -}}
{{- end -}}
