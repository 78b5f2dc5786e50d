kubectl apply --server-side -f deploy/crds.yaml
kubectl wait --for=condition=Established --all crd
az identity create --resource-group podid-demo --name vault-reader
