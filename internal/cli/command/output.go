package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Output is the form of what a command writes: one for people, or JSON.
type Output struct{ plain, form string }

// NewOutput makes it. plain is the name of the form for people.
func NewOutput(plain string) Output { return Output{plain: plain} }

// Add adds the flag to a command.
func (o *Output) Add(c *cobra.Command) {
	c.Flags().StringVarP(&o.form, "output", "o", o.plain, o.plain+" or "+JSON)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{o.plain, JSON}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// Check refuses forms that there are not.
func (o *Output) Check() error {
	if o.form != o.plain && o.form != JSON {
		return fmt.Errorf("--output=%s: write %s or %s", o.form, o.plain, JSON)
	}
	return nil
}

// JSON reports whether it is for programs.
func (o *Output) JSON() bool { return o.form == JSON }
