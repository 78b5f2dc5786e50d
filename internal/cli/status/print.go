package status

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/shell"
)

// print writes the report.
func (r *report) print(s *screen.Screen) error {
	r.parts(s)
	r.machines(s)
	r.identities(s)
	for _, n := range r.Notes {
		s.Printf("\n%s\n", s.Paint(screen.Grey, "note: "+n))
	}
	return s.Err()
}

// parts prints mic pod by pod, and nmi by how many are ready, with those that are not.
func (r *report) parts(s *screen.Screen) {
	if len(r.Components) == 0 {
		s.Printf("%s\n", s.Paint(screen.Red, "no pod of podid: is it installed, and in the namespace of --podid-namespace?"))
		return
	}
	t := newTable(s, "PART", "READY", "VERSION", "NODES")
	for _, part := range []string{"mic", "nmi"} {
		ready, all, versions := 0, 0, map[string]bool{}
		var names []string
		for _, c := range r.Components {
			if c.Part != part {
				continue
			}
			all++
			if c.Ready {
				ready++
			}
			if !versions[c.Version] {
				versions[c.Version] = true
				names = append(names, c.Version)
			}
		}
		t.row(part, fmt.Sprintf("%d/%d", ready, all), strings.Join(names, ", "), fmt.Sprint(all))
	}
	t.flush()
	for _, c := range r.Components {
		if !c.Ready {
			s.Printf("%s\n", s.Paint(screen.Red, fmt.Sprintf("%s %s on node %s is not ready: %s", c.Part, c.Pod, c.Node, c.Why)))
		}
	}
	switch {
	case r.leads:
		s.Printf("%s leads\n", shell.Printable(r.Leader))
	case r.Leader != "":
		s.Printf("%s\n", s.Paint(screen.Red, fmt.Sprintf("nobody leads: %s has renewed the Lease last at %s", r.Leader, r.Renewed.UTC().Format(time.RFC3339))))
	case r.mic && !r.leaseUnread:
		s.Printf("%s\n", s.Paint(screen.Red, "nobody leads: no mic holds the Lease"))
	}
}

func (r *report) machines(s *screen.Screen) {
	s.Printf("\n")
	if len(r.Scopes) == 0 {
		s.Printf("no identity is on a machine, and none is wanted there\n")
		return
	}
	t := newTable(s, "VM OR SCALE SET", "PODS", "WANTED", "ATTACHED", "PENDING", "RECORDED")
	for _, x := range r.Scopes {
		t.row(x.name, fmt.Sprint(x.Pods), fmt.Sprint(x.Wanted), fmt.Sprint(x.Attached), fmt.Sprint(x.Pending), fmt.Sprint(x.Recorded))
	}
	t.flush()
	for _, x := range r.Scopes {
		if x.Error != "" {
			s.Printf("%s\n", s.Paint(screen.Red, x.name+": "+x.Error))
		}
	}
}

func (r *report) identities(s *screen.Screen) {
	s.Printf("\n")
	if len(r.Identities) == 0 {
		s.Printf("there is no AzureIdentity\n")
		return
	}
	t := newTable(s, "AZUREIDENTITY", "TYPE", "CLIENT ID", "PODS", "ATTACHED")
	for _, x := range r.Identities {
		attached := x.Attached
		if attached == "" {
			attached = "-"
		}
		t.row(x.Name, fmt.Sprint(x.Type), x.ClientID, fmt.Sprint(x.Pods), attached)
	}
	t.flush()
}

// table is rows of columns. What others have written is made printable.
type table struct{ w *tabwriter.Writer }

func newTable(s *screen.Screen, head ...string) table {
	t := table{tabwriter.NewWriter(s, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

func (t table) row(cells ...string) {
	for i := range cells {
		cells[i] = shell.Printable(cells[i])
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) // the screen keeps its error
}

func (t table) flush() { _ = t.w.Flush() }
