// Package command is what the commands of podid have in common: which cluster they
// look at, how they write what they found, how they say what is wrong, and with
// which status they end.
package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/shell"
)

// ErrNotFoundOut is the status where a command was not understood, or could not find
// out what it was asked.
const ErrNotFoundOut = exit.Error(2)

// JSON is the form for programs, as --output names it.
const JSON = "json"

// Config is what a command has of its process.
type Config struct {
	// Getenv reads the environment.
	Getenv func(string) string
	// Ask is how agents are asked; nil means by exec, as kubectl does.
	Ask cluster.Asker
}

// Options are the flags that commands share.
type Options struct {
	Config

	// Cluster says which cluster it is.
	Cluster *cluster.Flags
	// Output is the form of what is written.
	Output Output
}

// NewOptions makes the flags. plain is the name of the form for people.
func NewOptions(c Config, plain string) Options {
	return Options{Config: c, Cluster: cluster.NewFlags(), Output: Output{plain: plain}}
}

// Bind gives a command the shared flags, and has it run. An error of run's that is
// no status is said, and ends the command with ErrNotFoundOut.
func (o *Options) Bind(c *cobra.Command, run func(c *cobra.Command, args []string) error) {
	c.Args = cobra.ArbitraryArgs // run says it in our words, and with our status
	c.SilenceUsage, c.SilenceErrors = true, true
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	c.SetFlagErrorFunc(End)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := o.Output.Check(); err != nil {
			return End(c, err)
		}
		return End(c, run(c, args))
	}
	o.Output.Add(c)
	o.Cluster.Add(c.Flags())
	o.completeFlags(c)
}

// Open opens the cluster.
func (o *Options) Open() (*cluster.Cluster, error) { return o.Cluster.Open(o.Ask) }

// Screen is where a command writes to.
func (o *Options) Screen(c *cobra.Command) *screen.Screen {
	return screen.New(c.OutOrStdout(), o.Getenv)
}

// NoArgs refuses arguments.
func NoArgs(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("argument %q: the command takes none", args[0])
	}
	return nil
}

// failure is an error that is said, and a status that is not ErrNotFoundOut.
type failure struct {
	error

	status exit.Error
}

// Fail is an error that ends a command with a status.
func Fail(status exit.Error, err error) error { return failure{err, status} }

// End makes the status of what a command came to. What is no status already it
// says.
func End(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if status, ok := err.(exit.Error); ok { //nolint:errorlint // one that is wrapped has words, which are to be said
		return status
	}
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "podid %s: %s\n", c.Name(), shell.Printable(err.Error())) // nowhere else to say it
	if f, ok := errors.AsType[failure](err); ok {
		return f.status
	}
	return ErrNotFoundOut
}
