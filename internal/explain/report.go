// Package explain says why a pod gets its token, or why not: the whole chain from
// the pod to the token, a step at a time, each with its evidence and with what
// mends it. It is pure: it takes what was read and returns a report. Which
// identity a pod may have it asks internal/identity, by the view that nmi has.
package explain

import (
	"fmt"
	"slices"
	"time"
)

// State is what is to be said of a step.
type State string

// The states of a step, and of a report.
const (
	// OK means that the step is done, by evidence.
	OK State = "ok"
	// Waiting means that it is on its way and may come by itself.
	Waiting State = "waiting"
	// Warning means that something may be in the way: whether it is, depends on
	// what cannot be seen.
	Warning State = "warning"
	// Broken means that it does not come until somebody mends it.
	Broken State = "broken"
	// Unknown means that it could not be found out.
	Unknown State = "unknown"
	// Skipped means that it was not looked at: it is not needed, or not asked for, or
	// what comes before is missing.
	Skipped State = "skipped"
)

// Names of the steps, in their order.
const (
	PodStep        = "pod"
	LabelStep      = "label"
	BindingStep    = "binding"
	IdentityStep   = "identity"
	AssignmentStep = "assignment"
	NodeStep       = "node"
	AgentStep      = "agent"
	NetworkStep    = "network"
	TokenStep      = "token"
)

// Step is one link of the chain.
type Step struct {
	Name  string `json:"step"`
	State State  `json:"state"`
	// Evidence is a sentence: which object, which value, since when.
	Evidence string `json:"evidence"`
	// Fix is what mends it: commands for a shell, or what to do; one line or several.
	Fix string `json:"fix,omitempty"`
	// First marks the step to begin with: the first that is broken, or, where none
	// is, the first that is not ok.
	First bool `json:"first,omitempty"`
}

// Report is the chain of a pod.
type Report struct {
	Pod    string `json:"pod"` // NAMESPACE/NAME
	Node   string `json:"node,omitempty"`
	DryRun bool   `json:"dryRun,omitempty"`
	// Verdict is OK, Waiting, Warning, Broken or Unknown.
	Verdict State  `json:"verdict"`
	Steps   []Step `json:"steps"`
	// Identity is the AzureIdentity that the pod gets, or would, as NAMESPACE/NAME.
	Identity string `json:"identity,omitempty"`
	// Claims are those of the token, where one was asked for and is there.
	Claims *Claims `json:"claims,omitempty"`
	// Notes are what limits the report.
	Notes []string `json:"notes,omitempty"`
}

// conclude finds the verdict, and the step to begin with.
func (r *Report) conclude() {
	r.Verdict = OK
	for _, s := range []State{Broken, Waiting, Warning, Unknown} {
		i := slices.IndexFunc(r.Steps, func(x Step) bool { return x.State == s })
		if i < 0 {
			continue
		}
		if r.Verdict == OK {
			r.Verdict = s
			r.Steps[i].First = true
		}
	}
}

// Step finds a step by its name.
func (r *Report) Step(name string) Step {
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	return Step{Name: name, State: Skipped}
}

func ok(format string, args ...any) Step {
	return Step{State: OK, Evidence: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Step {
	return Step{State: Skipped, Evidence: fmt.Sprintf(format, args...)}
}

func unknown(format string, args ...any) Step {
	return Step{State: Unknown, Evidence: fmt.Sprintf(format, args...)}
}

func waiting(format string, args ...any) Step {
	return Step{State: Waiting, Evidence: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Step {
	return Step{State: Warning, Evidence: fmt.Sprintf(format, args...)}
}

func broken(format string, args ...any) Step {
	return Step{State: Broken, Evidence: fmt.Sprintf(format, args...)}
}

// mend says what mends a step; see script.
func (s Step) mend(format string, args ...any) Step {
	s.Fix = string(script(format, args...))
	return s
}

// since is a time as a person reads it: how long ago it was.
func since(now, t time.Time) string {
	if t.IsZero() || t.After(now) {
		return "now"
	}
	d := now.Sub(t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
