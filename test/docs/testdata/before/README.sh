az identity create --resource-group podid-demo --name vault-reader
