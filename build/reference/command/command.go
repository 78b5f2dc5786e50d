// Package command tells of a program's commands and flags, from the very sets
// that it parses its arguments with.
package command

import (
	"cmp"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is a program, or a command of one.
type Command struct {
	// Name is how it is called, such as "mic cleanup", and Usage the same with its
	// arguments.
	Name, Usage string
	// Short is what it does, in a line.
	Short string
	// Flags are those that its help shows, and Old those that are taken under the
	// names that they had before; both by name.
	Flags, Old []Flag
}

// Flag is a flag.
type Flag struct {
	// Name is without dashes, and Short the letter that does the same, if any.
	Name, Short string
	// Type is its type, in a word, and Default its default, as one writes it.
	Type, Default string
	// Text says what it is for; of an old one, what to use in its place.
	Text string
}

// Of is a program and all its commands, without those of cobra's own.
func Of(root *cobra.Command) []Command {
	list := []Command{{
		Name: root.CommandPath(), Usage: strings.TrimSuffix(root.UseLine(), " [flags]"), Short: root.Short,
		Flags: Flags(root.LocalFlags()), Old: old(root.LocalFlags()),
	}}
	for _, sub := range root.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			list = append(list, Of(sub)...)
		}
	}
	return list
}

// Flags are those of a set that its help shows, by name.
func Flags(set *pflag.FlagSet) []Flag {
	var list []Flag
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && f.Deprecated == "" && !f.Hidden {
			list = append(list, flag(f))
		}
	})
	slices.SortFunc(list, byName)
	return list
}

func old(set *pflag.FlagSet) []Flag {
	var list []Flag
	set.VisitAll(func(f *pflag.Flag) {
		if f.Deprecated != "" {
			list = append(list, Flag{Name: f.Name, Short: f.Shorthand, Text: f.Deprecated})
		}
	})
	slices.SortFunc(list, byName)
	return list
}

func byName(a, b Flag) int { return cmp.Compare(a.Name, b.Name) }

// Write writes the same as JSON.
func Write(w io.Writer, root *cobra.Command) error {
	return json.NewEncoder(w).Encode(Of(root))
}

// ownDefault is a default that the text tells, since it comes from elsewhere.
var ownDefault = regexp.MustCompile(` \(default ([^()]+)\)$`)

func flag(f *pflag.Flag) Flag {
	name, text := pflag.UnquoteUsage(f)
	out := Flag{Name: f.Name, Short: f.Shorthand, Type: kind(f, name), Default: f.DefValue, Text: text}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		out.Default = strings.Join(list.GetSlice(), ",")
	}
	if out.Default == "[]" { // of a map
		out.Default = ""
	}
	if told := ownDefault.FindStringSubmatch(text); told != nil {
		out.Default, out.Text = told[1], strings.TrimSuffix(text, told[0])
	}
	return out
}

// kind is the type of a flag in a word.
func kind(f *pflag.Flag, name string) string {
	switch t := f.Value.Type(); t {
	case "bool", "duration":
		return t
	case "stringSlice", "stringArray":
		return "list"
	case "stringToString":
		return "NAME=VALUE"
	default:
		return cmp.Or(name, t)
	}
}
