package whocan

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/shell"
	"github.com/podid-io/podid/internal/whocan"
)

// write writes the report.
func write(s *screen.Screen, r *whocan.Report, asJSON bool) error {
	if asJSON {
		return s.JSON(r)
	}
	var b strings.Builder
	head(&b, r)
	pods(&b, r)
	takers(&b, r)
	ways(&b, r)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s\n", shell.Printable(n))
	}
	_, err := io.WriteString(s, b.String())
	return err
}

func head(b *strings.Builder, r *whocan.Report) {
	for _, part := range []struct {
		word string
		list []string
	}{{"client id", r.ClientIDs}, {"resource id", r.ResourceIDs}, {"AzureIdentity", r.Identities}} {
		for _, value := range part.list {
			fmt.Fprintf(b, "%s %s\n", part.word, shell.Printable(value))
		}
	}
	if len(r.Identities) == 0 {
		b.WriteString("no AzureIdentity names it\n")
	}
	if !r.DefineAsked {
		b.WriteString("the API server does not ask for the verb define: whoever may write AzureIdentities may define this one\n")
	}
}

// table makes a table with a title; nothing but the title where there are no rows.
func table(b *strings.Builder, title, columns string, rows [][]string) {
	fmt.Fprintf(b, "\n%s\n", title)
	if len(rows) == 0 {
		return
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, columns) // a strings.Builder takes everything
	for _, row := range rows {
		for i := range row {
			row[i] = shell.Printable(row[i])
		}
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
}

func pods(b *strings.Builder, r *whocan.Report) {
	var rows [][]string
	for _, p := range r.Pods {
		state := "assigned"
		switch {
		case !p.Served:
			state = "not served"
		case !p.Assigned:
			state = "on its way"
		}
		asks := "by default"
		if !p.Default {
			asks = "when asked for"
		}
		rows = append(rows, []string{p.Namespace, p.Name, p.ServiceAccount, p.Node, p.Binding, asks, state})
	}
	table(b, fmt.Sprintf("Pods that have it now: %d", len(r.Pods)), "NAMESPACE\tPOD\tSERVICE ACCOUNT\tNODE\tBINDING\tGETS IT\tSTATE", rows)
}

func takers(b *strings.Builder, r *whocan.Report) {
	var rows [][]string
	for _, t := range r.Takers {
		rows = append(rows, []string{t.Namespace, t.Name, t.Node, t.Why})
	}
	if r.Machines == 0 {
		b.WriteString("\nNo object of podid says that it is on a machine; what others put there, the cluster does not know.\n")
		return
	}
	title := fmt.Sprintf("Pods on its machines that can take it past nmi: %d of %d on %d nodes", len(r.Takers), r.MachinePods, r.Machines)
	table(b, title, "NAMESPACE\tPOD\tNODE\tBY", rows)
}

// most is how many ways of one subject by one binding a row of the table tells.
const most = 2

// ways has one row for a subject and the binding that it has them by. Kubernetes' own
// controllers, which have ways in every cluster, are told of by name alone.
func ways(b *strings.Builder, r *whocan.Report) {
	var rows [][]string
	var own []string
	subjects := map[whocan.Subject]bool{}
	for rest := r.Ways; len(rest) > 0; {
		first := rest[0]
		n := slices.IndexFunc(rest, func(w whocan.Way) bool { return w.Subject != first.Subject || w.Binding != first.Binding })
		if n < 0 {
			n = len(rest)
		}
		of := rest[:n]
		rest = rest[n:]
		subjects[first.Subject] = true
		if controller(first) {
			own = append(own, shell.Printable(first.Subject.Name))
			continue
		}
		where := "everywhere"
		if first.Namespace != "" {
			where = "in " + first.Namespace
		}
		rows = append(rows, []string{subject(first.Subject), could(of), where, first.Binding + " -> " + first.Role})
	}
	table(b, fmt.Sprintf("Subjects that could have it: %d (groups are not expanded; -o json lists every way)", len(subjects)), "SUBJECT\tCOULD\tWHERE\tTHROUGH", rows)
	if len(own) > 0 {
		fmt.Fprintf(b, "and by the bindings system:controller:… of Kubernetes its own controllers, service accounts of kube-system: %s\n", strings.Join(own, ", "))
	}
}

// controller reports whether a way is one that a controller of Kubernetes has by the
// binding that every API server makes for it.
func controller(w whocan.Way) bool {
	const system = "kube-system"
	return w.Subject.Kind == rbacv1.ServiceAccountKind && w.Subject.Namespace == system &&
		(w.Binding == "ClusterRoleBinding system:controller:"+w.Subject.Name && w.Role == "ClusterRole system:controller:"+w.Subject.Name ||
			w.Binding == "RoleBinding "+system+"/system:controller:"+w.Subject.Name && w.Role == "Role "+system+"/system:controller:"+w.Subject.Name)
}

func subject(s whocan.Subject) string {
	if s.Kind == rbacv1.ServiceAccountKind {
		return s.Kind + " " + s.Namespace + "/" + s.Name
	}
	return s.Kind + " " + s.Name
}

// could tells of ways by the same binding.
func could(ways []whocan.Way) string {
	var said, as []string
	for _, w := range ways {
		if w.As != "" {
			as = append(as, w.As)
			continue
		}
		text := w.Could
		if len(w.Names) > 0 {
			text += " (" + strings.Join(w.Names, ", ") + " alone)"
		}
		said = append(said, text)
	}
	switch {
	case len(as) > 1:
		said = append(said, fmt.Sprintf("act as one of %d service accounts that could", len(as)))
	case len(as) == 1:
		said = append(said, "act as service account "+as[0]+", which could")
	}
	if len(said) > most+1 {
		return fmt.Sprintf("%s; and %d more", strings.Join(said[:most], "; "), len(said)-most)
	}
	return strings.Join(said, "; ")
}
