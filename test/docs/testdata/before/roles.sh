# The definitions, an identity for mic, and one that pods use.
kubectl apply --server-side -f deploy/crds.yaml
kubectl wait --for=condition=Established --all crd
az identity create -g podid-demo -n mic
az identity create -g podid-demo -n blob-reader
kubectl apply -f - <<EOF
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {name: blob-reader, namespace: default}
spec:
  clientID: $(az identity show -g podid-demo -n blob-reader --query clientId -o tsv)
  resourceID: $(az identity show -g podid-demo -n blob-reader --query id -o tsv)
EOF
