package roles

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/podid-io/podid/internal/roles"
	"github.com/podid-io/podid/internal/shell"
)

// print writes the report.
func (r *report) print(w io.Writer, o *options) error {
	if o.output.JSON() {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false) // commands are for a shell
		return e.Encode(r)
	}
	var b strings.Builder
	r.head(&b)
	r.table(&b)
	b.WriteString("\nnmi needs no role: it asks for tokens of identities that are on its node.\nAzureIdentities of type 1 and 2, applications, need none either.\n")
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s\n", shell.Printable(n))
	}
	r.outcome(&b, o)
	r.surplus(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// head says of what all of it is.
func (r *report) head(b *strings.Builder) {
	fmt.Fprintf(b, "cluster %s", shell.Printable(r.Cluster))
	if r.Context != "" {
		fmt.Fprintf(b, " (context %s)", shell.Printable(r.Context))
	}
	fmt.Fprintf(b, "\n%s, signed in", r.Cloud)
	for _, part := range []struct{ word, value string }{{"as", r.SignedIn.Name}, {"object", r.SignedIn.ObjectID}, {"to tenant", r.SignedIn.TenantID}} {
		if part.value != "" {
			fmt.Fprintf(b, " %s %s", part.word, shell.Printable(part.value))
		}
	}
	b.WriteByte('\n')
	word := "is"
	if r.ambiguous() {
		word = "may be"
	}
	for _, p := range r.Principals {
		fmt.Fprintf(b, "mic %s %s%s\n", word, p.ID, in(p.Identity))
	}
	b.WriteByte('\n')
}

func in(identity string) string {
	if identity == "" {
		return ""
	}
	return ", the identity of " + identity
}

func (r *report) table(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	head := "ROLE\tSCOPE\tFOR\tSTATE"
	if len(r.Principals) > 1 {
		head = "PRINCIPAL\t" + head
	}
	_, _ = fmt.Fprintln(t, head) // a strings.Builder takes everything
	for _, x := range r.Roles {
		if len(r.Principals) > 1 {
			_, _ = fmt.Fprintf(t, "%s\t", x.PrincipalID)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Role, x.Scope, x.Why, x.standing())
	}
	_ = t.Flush()
}

// standing is the state in words.
func (x *row) standing() string {
	said := string(x.State)
	switch x.State {
	case inheritedState:
		var from []string
		for _, s := range x.From {
			from = append(from, s.Role+" on "+s.Scope)
		}
		said = "inherited from " + strings.Join(from, " and ")
	case presentState:
		for _, s := range x.From {
			if s.Role != x.Role {
				said = "present, by " + s.Role
				break
			}
		}
	case missingState:
		if len(x.Conditions) > 0 {
			said += ": " + strings.Join(x.Conditions, ", and ")
		}
	default:
		if x.Error != "" {
			said += ": " + x.Error
		}
	}
	return shell.Printable(said)
}

// outcome tells how many are missing, and the commands that make them.
func (r *report) outcome(b *strings.Builder, o *options) {
	failed, created, unknown, unusual := r.count(failedState), r.count(createdState), r.count(unknownState), r.count(unusualState)
	missing, undefined := r.count(missingState)+failed+unusual, r.undefined()
	switch {
	case o.apply && created+failed > 0:
		fmt.Fprintf(b, "\n%d of %d made, %d failed.\n", created, created+failed, failed)
	case missing+unknown == 0 && undefined > 0:
		fmt.Fprintf(b, "\nNo assignment is missing; of the custom roles, %d to be made or changed.\n", undefined)
	case missing+unknown == 0 && r.Incomplete:
		b.WriteString("\nNothing is missing of what could be read.\n")
	case missing+unknown == 0:
		b.WriteString("\nNothing is missing.\n")
	default:
		fmt.Fprintf(b, "\n%d of %d missing.\n", missing, len(r.Roles))
	}
	for _, more := range []struct {
		n    int
		what string
	}{{unusual, "unusual, and not made"}, {unknown, "unknown"}} {
		if more.n > 0 {
			fmt.Fprintf(b, "%d %s: see STATE.\n", more.n, more.what)
		}
	}
	if r.ambiguous() && missing+unknown+undefined > 0 {
		b.WriteString("Nothing is made: whoever may make a Node could be among those that mic may be. Say which it is with --principal-id or --identity-resource-id.\n")
		return
	}
	r.commands(b, o)
}

// commands are the lines for a shell that make what is missing.
func (r *report) commands(b *strings.Builder, o *options) {
	var lines []string
	for _, c := range r.Definitions {
		if c.Error != "" {
			lines = append(lines, "# failed: "+shell.Printable(c.Error))
		}
		if c.State == missingState || c.State == failedState {
			lines = append(lines, c.Command)
		}
	}
	for _, x := range r.Roles {
		if x.Command != "" {
			lines = append(lines, "# "+x.Role, x.Command)
		}
	}
	if len(lines) == 0 {
		return
	}
	if !o.apply {
		b.WriteString("To make what is missing, add --apply, or have az")
	} else {
		b.WriteString("For somebody who may: have az")
	}
	fmt.Fprintf(b, " in %s (az cloud set) and signed in to the tenant of the subscription (az login --tenant), and run:\n\n%s\n", r.Cloud, strings.Join(lines, "\n"))
}

// surplus tells of what may go. It is never done for anybody: another cluster may
// have the same mic.
func (r *report) surplus(b *strings.Builder) {
	if len(r.Surplus) == 0 {
		return
	}
	b.WriteString("\nNo longer needed by this cluster; to delete them, run:\n\n")
	for _, s := range r.Surplus {
		fmt.Fprintf(b, "# %s on %s\n%s\n", shell.Printable(s.Role), shell.Printable(s.Scope), s.Command)
	}
}

// deletion is the line for a shell that deletes a role assignment.
func deletion(id string) string { return "az role assignment delete --ids " + shell.Quote(id) }

// command is the line for a shell that makes the assignment: the same one, by its
// name and by the id of the role, that --apply makes.
func (x *row) command() string {
	if x.delegated == "" {
		return strings.Join([]string{
			"az role assignment create --name", x.name(), "--assignee-object-id", shell.Quote(x.PrincipalID), "--assignee-principal-type ServicePrincipal",
			"--role", shell.Quote(x.definition), "--scope", shell.Quote(x.Scope), "--subscription", shell.Quote(x.need.Subscription()),
		}, " ")
	}
	// az role assignment create has no flag for it.
	return put(x.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+x.name(), map[string]string{
		"principalId": x.PrincipalID, "principalType": "ServicePrincipal", "roleDefinitionId": x.definitionID(),
		"delegatedManagedIdentityResourceId": x.delegated,
	})
}

// command is the line for a shell that makes or changes the role. With az role
// definition the role would get another id each time.
func (c *customRole) command() string {
	return put(c.Scope+"/providers/Microsoft.Authorization/roleDefinitions/"+c.guid, map[string]any{
		"roleName": c.Name, "type": "CustomRole", "description": description, "assignableScopes": c.AssignableScopes,
		"permissions": []roles.Permission{{Actions: c.Actions}},
	})
}

// put is the line for a shell that makes the resource with an id.
func put(id string, properties any) string {
	body, _ := json.Marshal(map[string]any{"properties": properties}) // strings cannot fail
	return "az rest --method put --url " + shell.Quote(id+"?api-version=2022-04-01") + " --body " + shell.Quote(string(body))
}
