package explain

import (
	"strings"

	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/shell"
)

// print writes the report.
func (o *options) print(s *screen.Screen, r *explain.Report) error {
	if o.Output.JSON() {
		return s.JSON(r)
	}
	head := "pod " + r.Pod
	if r.Node != "" {
		head += " on node " + r.Node
	}
	if r.DryRun {
		head += ", which does not exist (dry run)"
	}
	s.Printf("%s\n\n", s.Paint(screen.Bold, head))
	for _, x := range r.Steps {
		printStep(s, x)
	}
	s.Printf("\n")
	for _, n := range r.Notes {
		s.Printf("%s\n", s.Paint(screen.Grey, "note: "+n))
	}
	printVerdict(s, r)
	return s.Err()
}

// looks are how states are shown.
func look(state explain.State) (word string, c screen.Colour) {
	switch state {
	case explain.OK:
		return "ok", screen.Green
	case explain.Broken:
		return "BROKEN", screen.Red
	case explain.Waiting:
		return "waiting", screen.Yellow
	case explain.Warning:
		return "WARNING", screen.Yellow
	case explain.Unknown:
		return "unknown", screen.Yellow
	default:
		return "-", screen.Grey
	}
}

func printStep(s *screen.Screen, x explain.Step) {
	word, c := look(x.State)
	mark := " "
	if x.First {
		mark = ">"
	}
	s.Printf("%s %s%s %-10s  %s\n", mark, s.Paint(c, word), strings.Repeat(" ", 8-len(word)), x.Name, shell.Printable(x.Evidence))
	if x.Fix == "" || x.State == explain.OK {
		return
	}
	for line := range strings.Lines(x.Fix) {
		s.Printf("%23s%s\n", "", shell.Printable(line))
	}
}

// printVerdict says in a line what to make of it.
func printVerdict(s *screen.Screen, r *explain.Report) {
	var first explain.Step
	for _, x := range r.Steps {
		if x.First {
			first = x
		}
	}
	switch r.Verdict {
	case explain.OK:
		s.Printf("%s\n", s.Paint(screen.Green, "all is well"))
	case explain.Waiting:
		s.Printf("%s\n", s.Paint(screen.Yellow, "on its way: "+first.Name))
	case explain.Unknown:
		s.Printf("%s\n", s.Paint(screen.Yellow, "could not be found out: "+first.Name))
	default:
		s.Printf("%s\n", s.Paint(screen.Red, "begin with: "+first.Name))
	}
}
