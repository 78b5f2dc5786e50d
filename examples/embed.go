// Package examples carries the manifests that users start from.
package examples

import "embed"

// Files holds quickstart/.
//
//go:embed quickstart/*.yaml
var Files embed.FS
