package main

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/podid-io/podid/build/reference/command"
)

// flagsPage is the reference of flags.
func flagsPage(ctx context.Context, root string) (*page, error) {
	programs, err := allCommands(ctx, root)
	if err != nil {
		return nil, err
	}
	p := newPage("Flags",
		"Every flag of each program and its commands, from the sets that they parse their arguments with. [compatibility.md](../compatibility.md) says what AAD Pod Identity's flags do here, and [values.md](values.md) has the values of the chart.")
	for _, commands := range programs {
		for i := range commands {
			tell(p, commands, i)
		}
	}
	p.heading(2, "Flags of kubectl")
	p.say("Commands of podid that ask a cluster take these as kubectl does, beside their own.")
	p.flags(kubectls(), nil)
	return p, nil
}

// tell adds a command of a program to the page.
func tell(p *page, commands []command.Command, i int) {
	c, program := commands[i], commands[0]
	if i == 0 {
		p.heading(2, c.Name)
	} else {
		p.heading(3, c.Name)
	}
	usage := ""
	if c.Usage != c.Name {
		usage = code(c.Usage)
	}
	p.say(plain(c.Short)+".", usage)
	var own []command.Flag
	var shared []string
	asksACluster, kubectl := false, kubectls()
	for _, f := range c.Flags {
		switch {
		case slices.Contains(kubectl, f):
			asksACluster = true
		case i > 0 && slices.Contains(program.Flags, f):
			shared = append(shared, spelling(f))
		default:
			own = append(own, f)
		}
	}
	p.flags(own, formerNames(c.Old))
	if len(shared) > 0 {
		p.say("And of [" + program.Name + "](#" + program.Name + "): " + strings.Join(shared, ", ") + ".")
	}
	if asksACluster {
		p.say("And the [flags of kubectl](#flags-of-kubectl).")
	}
	if i == 0 {
		p.oldFlags(c)
	}
}

// flags adds a table of flags; former are their old spellings.
func (p *page) flags(list []command.Flag, former map[string][]string) {
	var rows [][]string
	for _, f := range list {
		standard := f.Default
		if f.Type == "duration" {
			standard = duration(standard)
		}
		rows = append(rows, []string{spelling(f), f.Type, code(standard), plain(strings.TrimSuffix(f.Text, ".")), strings.Join(former[f.Name], ", ")})
	}
	p.table([]string{"flag", "type", "default", "what", "old spelling"}, rows)
}

// oldFlags adds those that are taken under the names that they had; those of which
// the same is said share a row.
func (p *page) oldFlags(c command.Command) {
	if len(c.Old) == 0 {
		return
	}
	p.say("Flags of AAD Pod Identity that " + c.Name + " takes, with a line on standard error:")
	var rows [][]string
	for _, f := range c.Old {
		text := plain(f.Text)
		if i := slices.IndexFunc(rows, func(row []string) bool { return row[1] == text }); i >= 0 {
			rows[i][0] += ", " + spelling(f)
			continue
		}
		rows = append(rows, []string{spelling(f), text})
	}
	p.table([]string{"old flag", "here"}, rows)
}

// kubectls are the flags that kubectl's own library adds.
func kubectls() []command.Flag {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	config := genericclioptions.NewConfigFlags(true)
	config.CacheDir = nil // which podid has no use for
	config.AddFlags(set)
	return command.Flags(set)
}

func spelling(f command.Flag) string {
	long := "--" + f.Name
	if len(f.Name) == 1 { // klog's -v has one letter and no more
		long = "-" + f.Name
	} else if f.Short != "" {
		long = "-" + f.Short + ", " + long
	}
	return code(long)
}

var flagName = regexp.MustCompile(`--([a-zA-Z][a-zA-Z-]*)`)

// formerNames are the old spellings of flags, from what old ones say to use in
// their place.
func formerNames(old []command.Flag) map[string][]string {
	names := make(map[string][]string)
	for _, f := range old {
		if !strings.HasPrefix(f.Text, "use ") {
			continue
		}
		for _, m := range flagName.FindAllStringSubmatch(f.Text, -1) {
			names[m[1]] = append(names[m[1]], spelling(f))
		}
	}
	return names
}
