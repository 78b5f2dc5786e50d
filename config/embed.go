// Package config carries the manifests that podid's programs are installed
// with: the CRDs and the roles.
package config

import "embed"

// Files holds crd/ and rbac/.
//
//go:embed crd/*.yaml rbac/*.yaml
var Files embed.FS
