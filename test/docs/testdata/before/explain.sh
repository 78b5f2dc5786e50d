# A pod whose label is misspelt, with a binding that it should have.
kubectl apply --server-side -f deploy/crds.yaml
kubectl wait --for=condition=Established --all crd
kubectl create namespace shop
kubectl create serviceaccount default -n shop || true # the cluster makes it, a moment later
kubectl apply -f - <<EOF
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {name: web, namespace: shop}
spec:
  clientID: 00000000-0000-0000-0000-000000000000
  resourceID: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentityBinding
metadata: {name: web, namespace: shop}
spec: {azureIdentity: web, selector: web}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {aadpodidbinding: wbe}}
spec:
  nodeName: aks-pool-12345678-vmss000000
  containers: [{name: app, image: registry.example/app:1}]
EOF
