package roles

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/podid-io/podid/internal/roles"
)

// print writes the report.
func (r *report) print(w io.Writer, o *options) error {
	if o.output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false) // commands are for a shell
		return e.Encode(r)
	}
	var b strings.Builder
	for _, p := range r.Principals {
		fmt.Fprintf(&b, "mic is %s%s\n", p.ID, in(p.Identity))
	}
	b.WriteByte('\n')
	r.table(&b)
	b.WriteString("\nnmi needs no role: it asks for tokens of identities that are on its node.\nAzureIdentities of type 1 and 2, applications, need none either.\n")
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s\n", printable(n))
	}
	r.outcome(&b, o)
	_, err := io.WriteString(w, b.String())
	return err
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
	switch x.State {
	case inheritedState:
		var from []string
		for _, s := range x.From {
			from = append(from, s.Role+" on "+s.Scope)
		}
		return "inherited from " + printable(strings.Join(from, " and "))
	case failedState:
		return "failed: " + printable(x.Error)
	case presentState:
		for _, s := range x.From {
			if s.Role != x.Role {
				return "present, by " + printable(s.Role)
			}
		}
		return string(x.State)
	default:
		return string(x.State)
	}
}

// outcome tells how many are missing, and the commands that make them.
func (r *report) outcome(b *strings.Builder, o *options) {
	failed, created := r.count(failedState), r.count(createdState)
	missing := r.count(missingState) + failed
	switch {
	case o.apply && (created > 0 || failed > 0):
		fmt.Fprintf(b, "\n%d of %d made, %d failed.\n", created, created+failed, failed)
	case missing == 0:
		fmt.Fprintf(b, "\nNothing is missing.\n")
	default:
		fmt.Fprintf(b, "\n%d of %d missing. To make what is missing, add --apply, or run:\n", missing, len(r.Roles))
	}
	if missing == 0 {
		return
	}
	b.WriteByte('\n')
	for _, c := range r.Definitions {
		if c.Error != "" {
			fmt.Fprintf(b, "# failed: %s\n", printable(c.Error))
		}
		if c.State == missingState || c.State == failedState {
			fmt.Fprintf(b, "%s\n", c.Command)
		}
	}
	for _, x := range r.Roles {
		if x.State == missingState || x.State == failedState {
			fmt.Fprintf(b, "%s\n", x.Command)
		}
	}
}

// command is the line for a shell that makes the assignment.
func (x *row) command() string {
	if x.delegated == "" {
		return strings.Join([]string{
			"az role assignment create --assignee-object-id", quote(x.PrincipalID), "--assignee-principal-type ServicePrincipal",
			"--role", quote(x.Role), "--scope", quote(x.Scope),
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
		"roleName": c.Name, "type": "CustomRole", "description": description, "assignableScopes": []string{c.Scope},
		"permissions": []roles.Permission{{Actions: c.Actions}},
	})
}

// put is the line for a shell that makes the resource with an id.
func put(id string, properties any) string {
	body, _ := json.Marshal(map[string]any{"properties": properties}) // strings cannot fail
	return "az rest --method put --url " + quote(id+"?api-version=2022-04-01") + " --body " + quote(string(body))
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quote makes one word of a shell of s.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(printable(s), "'", `'\''`) + "'"
}

// printable leaves out what would steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
