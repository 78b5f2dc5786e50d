# The definitions, and an identity to ask about.
kubectl apply --server-side -f deploy/crds.yaml
kubectl wait --for=condition=Established --all crd
kubectl apply -f - <<EOF
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {name: blob-reader, namespace: default}
spec:
  clientID: 00000000-0000-0000-0000-000000000000
  resourceID: /subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/blob-reader
EOF
