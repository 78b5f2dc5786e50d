// Package config carries the manifests that podid's programs are installed
// with: the CRDs, the roles and the admission policies.
package config

import "embed"

// Files holds crd/, rbac/ and policy/.
//
//go:embed crd/*.yaml rbac/*.yaml policy/*.yaml
var Files embed.FS
