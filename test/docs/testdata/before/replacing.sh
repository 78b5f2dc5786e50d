# A release with the names and the objects of AAD Pod Identity's chart.
export HELM_PLUGINS=
old=$(mktemp -d)
mkdir $old/templates $old/crds
sed -e '/categories:/,+1d' deploy/crds.yaml > $old/crds/old.yaml
cat > $old/Chart.yaml <<'CHART'
apiVersion: v2
name: aad-pod-identity
version: 4.1.18
CHART
cat > $old/values.yaml <<'VALUES'
image: {repository: mcr.example/aad-pod-identity}
mic: {tag: v1.8.17}
nmi: {tag: v1.8.17}
VALUES
cat > $old/templates/all.yaml <<'TEMPLATE'
apiVersion: apps/v1
kind: Deployment
metadata: {name: aad-pod-identity-mic}
spec:
  selector: {matchLabels: {component: mic}}
  template:
    metadata: {labels: {component: mic}}
    spec: {containers: [{name: mic, image: "{{ .Values.image.repository }}/mic:{{ .Values.mic.tag }}"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: aad-pod-identity-nmi}
spec:
  selector: {matchLabels: {component: nmi}}
  template:
    metadata: {labels: {component: nmi}}
    spec: {containers: [{name: nmi, image: "{{ .Values.image.repository }}/nmi:{{ .Values.nmi.tag }}"}]}
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzurePodIdentityException
metadata: {name: aks-addon-exception, namespace: kube-system}
spec: {podLabels: {kubernetes.azure.com/managedby: aks}}
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzurePodIdentityException
metadata: {name: mic}
spec: {podLabels: {app: mic, component: mic, app.kubernetes.io/component: mic}}
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {name: reader}
spec:
  type: 0
  clientID: 22222222-2222-2222-2222-222222222222
  resourceID: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader
TEMPLATE
cat > $old/their-values.yaml <<'VALUES'
forceNamespaced: "true"
image: {repository: mcr.example/aad-pod-identity}
mic: {tag: v1.8.17, replicas: 3, leaderElection: }
nmi: {tag: v1.8.17, allowNetworkPluginKubenet: true}
rbac: {allowAccessToSecrets: false}
adminsecret: # with what is below commented out, as in the old chart's own file
VALUES
helm install aad-pod-identity $old --namespace aad-pod-identity --create-namespace --values $old/their-values.yaml
