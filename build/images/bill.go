package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
)

// bill is a bill of materials in CycloneDX.
type bill struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type    string     `json:"type"`
	Ref     string     `json:"bom-ref"`
	Name    string     `json:"name"`
	Version string     `json:"version,omitempty"`
	PURL    string     `json:"purl,omitempty"`
	Values  []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// certificates is the module that the image's certificates are from.
const certificates = "golang.org/x/crypto/x509roots/fallback"

// billOfMaterials says which modules, and which Go, a program was linked from:
// the linker wrote it there. The certificates beside it are this program's.
func billOfMaterials(binary io.ReaderAt, p program, version string) ([]byte, error) {
	info, err := buildinfo.Read(binary)
	if err != nil {
		return nil, fmt.Errorf("what the linker wrote: %w", err)
	}
	b := bill{Format: "CycloneDX", SpecVersion: "1.6", Version: 1, Components: []component{
		{Type: "library", Ref: "std", Name: "std", Version: info.GoVersion, PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")},
	}}
	b.Metadata.Component = component{Type: "application", Ref: p.name, Name: info.Path, Version: version}
	own, _ := debug.ReadBuildInfo() // without it there is no module in it
	module, err := certificateModule(own)
	if err != nil {
		return nil, err
	}
	modules := slices.Concat(info.Deps, []*debug.Module{module})
	for _, m := range modules {
		b.Components = append(b.Components, library(m))
	}
	return json.MarshalIndent(b, "", "  ")
}

// certificateModule is the module of the certificates that a program has.
func certificateModule(own *debug.BuildInfo) (*debug.Module, error) {
	if own != nil {
		for _, m := range own.Deps {
			if m.Path == certificates {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("bill of materials: where the certificates are from is not known: %s is not in this program", certificates)
}

// library is a module, or the one that replaces it.
func library(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	url := "pkg:golang/" + m.Path + "@" + m.Version
	return component{
		Type: "library", Ref: url, Name: m.Path, Version: m.Version, PURL: url,
		Values: []property{{Name: "go:sum", Value: m.Sum}},
	}
}
