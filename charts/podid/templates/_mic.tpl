{{- /* mic's flags. */ -}}
{{- define "podid.micFlags" -}}
{{- $v := .Values -}}
{{- $m := $v.mic -}}
{{- $path := include "podid.cloudConfig" . -}}
{{- if $m.cloudConfigSecret }}{{ $path = "/etc/podid/cloud/azure.json" }}{{ end -}}
- --cloud-config={{ $path }}
- --health-listen=:{{ $m.probePort | default 8080 }}
- --metrics-listen=:{{ $m.prometheusPort | default 8888 }}
- --log-level={{ $m.logLevel }}
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
{{- with $v.startupTaint }}
- --startup-taint={{ . }}
{{- end }}
{{- with $v.customUserAgent }}
- --custom-user-agent={{ . }}
{{- end }}
{{- with $m.loggingFormat }}
- --log-format={{ . }}
{{- end }}
{{- with $m.coalesceWindow }}
- --coalesce-window={{ . }}
{{- end }}
{{- with $m.keepWarm }}
- --keep-warm={{ . }}
{{- end }}
{{- with $m.driftInterval | default $m.identityAssignmentReconcileInterval }}
- --drift-interval={{ . }}
{{- end }}
{{- with $m.immutableUserMSIs }}
- --immutable-user-msis={{ join "," . }}
{{- end }}
{{- with include "podid.legacyLocks" . | fromJsonArray }}
- --legacy-lock={{ join "," . }}
{{- end }}
{{- with ($m.leaderElection).namespace }}
- --leader-election-namespace={{ . }}
{{- end }}
{{- with ($m.leaderElection).name }}
- --leader-election-name={{ . }}
{{- end }}
{{- with ($m.leaderElection).duration }}
- --leader-election-lease-duration={{ . }}
{{- end }}
{{- with $m.clientQps }}
- --kube-api-qps={{ . }}
- --kube-api-burst={{ max 1 (int .) }}
{{- end }}
{{- with $m.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* mic's environment: where it is, and who it is towards Azure. */ -}}
{{- define "podid.micEnv" -}}
{{- $v := .Values -}}
{{- $m := $v.mic -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- if $v.adminsecret }}
{{- $secret := printf "%s-mic-azure" (include "podid.fullname" .) }}
{{- range $name, $key := dict "CLOUD" "Cloud" "TENANT_ID" "TenantID" "CLIENT_ID" "ClientID" "CLIENT_SECRET" "ClientSecret" "USE_MSI" "UseMSI" "USER_ASSIGNED_MSI_CLIENT_ID" "UserAssignedMSIClientID" }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- else if ($m.workloadIdentity).clientID }}
- name: CLOUD
  value: {{ $v.azure.cloud }}
- name: AZURE_CLIENT_ID
  value: {{ $m.workloadIdentity.clientID | quote }}
- name: AZURE_TENANT_ID
  value: {{ $m.workloadIdentity.tenantID | quote }}
- name: AZURE_FEDERATED_TOKEN_FILE
  value: /var/run/secrets/azure/tokens/token
{{- else if not (or $m.cloudConfigSecret (include "podid.cloudConfig" .)) }}
- name: CLOUD
  value: {{ $v.azure.cloud }}
- name: USE_MSI
  value: "true"
- name: USER_ASSIGNED_MSI_CLIENT_ID
  value: {{ ($m.managedIdentity).clientID | default "" | quote }}
{{- end }}
{{- if ($m.customCloud).enabled }}
- name: AZURE_ENVIRONMENT_FILEPATH
  value: {{ if $m.cloudConfigSecret }}/etc/podid/cloud/{{ include "podid.customCloud" . | base }}{{ else }}{{ include "podid.customCloud" . }}{{ end }}
{{- end }}
{{- if $v.caBundle }}
- name: SSL_CERT_DIR
  value: /etc/podid/ca
{{- end }}
{{- with $m.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The file of the custom cloud's endpoints. */ -}}
{{- define "podid.customCloud" -}}
{{- .Values.mic.customCloud.configPath | default "/etc/kubernetes/akscustom.json" -}}
{{- end -}}

{{- /* Folders of the node that mic reads: those of azure.json and of the custom cloud's endpoints. A folder, not the file: a file that is mounted by itself stays the old one when another is renamed over it. */ -}}
{{- define "podid.micHostFolders" -}}
{{- $folders := list -}}
{{- with include "podid.cloudConfig" . }}{{ $folders = append $folders (dir .) }}{{ end -}}
{{- if and (.Values.mic.customCloud).enabled (not .Values.mic.cloudConfigSecret) -}}
{{- $folders = append $folders (include "podid.customCloud" . | dir) -}}
{{- end -}}
{{- uniq $folders | toJson -}}
{{- end -}}

{{- define "podid.micMounts" -}}
{{- range $i, $folder := include "podid.micHostFolders" . | fromJsonArray }}
- name: host-{{ $i }}
  mountPath: {{ $folder }}
  readOnly: true
{{- end }}
{{- if .Values.mic.cloudConfigSecret }}
- name: cloud
  mountPath: /etc/podid/cloud
  readOnly: true
{{- end }}
{{- if (.Values.mic.workloadIdentity).clientID }}
- name: azure-token
  mountPath: /var/run/secrets/azure/tokens
  readOnly: true
{{- end }}
{{- if .Values.caBundle }}
- name: ca
  mountPath: /etc/podid/ca
  readOnly: true
{{- end }}
{{- with .Values.mic.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "podid.micVolumes" -}}
{{- range $i, $folder := include "podid.micHostFolders" . | fromJsonArray }}
- name: host-{{ $i }}
  hostPath: {path: {{ $folder }}, type: Directory}
{{- end }}
{{- with .Values.mic.cloudConfigSecret }}
- name: cloud
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if (.Values.mic.workloadIdentity).clientID }}
- name: azure-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {audience: "api://AzureADTokenExchange", expirationSeconds: 3600, path: token}
{{- end }}
{{- if .Values.caBundle }}
- name: ca
  configMap: {name: {{ include "podid.fullname" . }}-ca}
{{- end }}
{{- with .Values.mic.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* azure.json of a node is readable by root alone: there mic is root, and has nothing else of root's. */ -}}
{{- define "podid.micPodSecurity" -}}
{{- if include "podid.cloudConfig" . -}}
runAsUser: 0
runAsGroup: 0
{{- else -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "podid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
