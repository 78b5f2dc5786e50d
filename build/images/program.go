package main

import (
	"fmt"
	"slices"
)

// Users of the programs. A number, since a kubelet that is told runAsNonRoot
// cannot tell whose a name is.
const (
	nobody = "65532:65532"
	root   = "0:0"
)

// program is one that gets an image.
type program struct {
	name string
	// pkg is its package, below the module's folder.
	pkg string
	// user is who it runs as.
	user  string
	title string
}

// programs are those that get an image. nmi is root's, since capabilities are
// given to root's processes alone: it needs NET_ADMIN and NET_RAW, and the chart
// takes all others from it.
func programs() []program {
	return []program{
		{"mic", "./cmd/mic", nobody, "The controller of podid"},
		{"nmi", "./cmd/nmi", root, "The node agent of podid"},
		{"podid", "./cmd/podid", nobody, "The command line of podid"},
		{"azemu", "./cmd/azemu", nobody, "An emulator of the Azure endpoints that podid uses"},
	}
}

// named are the programs with these names.
func named(names []string) ([]program, error) {
	var chosen []program
	for _, name := range names {
		all := programs()
		i := slices.IndexFunc(all, func(p program) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no image of %q: write some of mic, nmi, podid, azemu", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
