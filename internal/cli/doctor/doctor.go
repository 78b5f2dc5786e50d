// Package doctor is the command podid doctor: checks of a whole cluster, each with
// what mends it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/shell"
)

// errBroken is the status where something is broken.
const errBroken = exit.Error(1)

// New makes the command.
func New(c command.Config) *cobra.Command {
	o := command.NewOptions(c, "text")
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check podid in a cluster, and say what mends what is broken",
		Long: `Check podid in a cluster: the CRDs and the rights of mic and nmi, nmi and its redirect
on every Linux node, mic and its Lease, start-up taints that stay, admission policies,
clocks, other agents that want the same requests, pods that podid cannot serve,
network policies, identities that Azure refuses, and what flags leave open.

Agents that are not ready are asked why, by exec in their pods.

What may not be read is unknown, neither well nor broken, with the right that is
missing.

The command ends with status 1 when something is broken, with 2 when the command was
not understood or, with nothing broken, a check could not be made, and with 0
otherwise, warnings included.`,
		Example: `  podid doctor
  podid doctor -o json
  podid doctor --podid-namespace kube-system`,
	}
	o.Bind(cmd, func(c *cobra.Command, args []string) error {
		if err := command.NoArgs(args); err != nil {
			return err
		}
		r, err := examine(c.Context(), &o)
		if err != nil {
			return err
		}
		if err := r.print(o.Screen(c), o.Output.JSON()); err != nil {
			return err
		}
		return r.status()
	})
	return cmd
}

// finding is what a check found.
type finding struct {
	Check string        `json:"check"`
	State explain.State `json:"state"` // ok, warning, broken or unknown
	Says  string        `json:"says"`
	Fix   string        `json:"fix,omitempty"`
}

// report is the output in JSON.
type report struct {
	Context  string    `json:"context,omitempty"`
	Findings []finding `json:"findings"`
}

func (r *report) add(check string, state explain.State, says, fix string) {
	r.Findings = append(r.Findings, finding{Check: check, State: state, Says: says, Fix: fix})
}

// unread notes that a check could not be made, and the right that is missing for it.
func (r *report) unread(check string, err error) {
	r.add(check, explain.Unknown, "could not be read: "+err.Error(), rightFor(err))
}

// rightFor is the rule that lets whoever runs the command see what he may not; empty
// where that is not why.
func rightFor(err error) string {
	s, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsForbidden(err) || s.ErrStatus.Details == nil {
		return ""
	}
	d := s.ErrStatus.Details
	verbs := "get, list"
	if strings.HasSuffix(d.Kind, "reviews") {
		verbs = "create"
	}
	return fmt.Sprintf("have this rule added to a role of yours: {apiGroups: [%q], resources: [%q], verbs: [%s]}", d.Group, d.Kind, verbs)
}

// status is that of the command.
func (r *report) status() error {
	var unknown bool
	for _, f := range r.Findings {
		if f.State == explain.Broken {
			return errBroken
		}
		unknown = unknown || f.State == explain.Unknown
	}
	if unknown {
		return command.ErrNotFoundOut
	}
	return nil
}

// examine makes all checks.
func examine(ctx context.Context, o *command.Options) (*report, error) {
	c, err := o.Open()
	if err != nil {
		return nil, err
	}
	r := &report{Context: c.Context}
	x := &examination{Cluster: c, report: r}
	if err := x.clock(ctx); err != nil { // the first request: without an API server there is nothing to check
		return nil, err
	}
	x.crds(ctx)
	x.parts(ctx)
	for _, check := range []func(context.Context){
		x.rights, x.controller, x.agents, x.taints, x.policies, x.nodeClocks, x.rivals, x.pods, x.networkPolicies, x.identities,
	} {
		check(ctx)
	}
	x.open()
	return r, nil
}

// print writes the report.
func (r *report) print(s *screen.Screen, asJSON bool) error {
	if asJSON {
		return s.JSON(r)
	}
	count := map[explain.State]int{}
	for _, f := range r.Findings {
		count[f.State]++
		word, colour := string(f.State), screen.Green
		switch f.State {
		case explain.Broken:
			word, colour = "BROKEN", screen.Red
		case explain.Warning:
			word, colour = "WARNING", screen.Yellow
		case explain.Unknown:
			colour = screen.Yellow
		default:
		}
		s.Printf("%s%s %-10s  %s\n", s.Paint(colour, word), strings.Repeat(" ", max(0, 8-len(word))), f.Check, shell.Printable(f.Says))
		for line := range strings.Lines(f.Fix) {
			s.Printf("%21s%s\n", "", shell.Printable(line))
		}
	}
	s.Printf("\n%d broken, %d warnings, %d unknown, %d ok\n", count[explain.Broken], count[explain.Warning], count[explain.Unknown], count[explain.OK])
	s.Printf("What mic may do in Azure is not looked at here: podid roles does.\n")
	return s.Err()
}
