package telemetry

import "runtime/debug"

// version is set by the linker (-X) in release builds.
var version string

// Version is the version of the running program: what the linker was told, else
// the module version that Go recorded, else "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
