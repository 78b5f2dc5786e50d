package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// form is how a command is written, and what it does.
type form struct {
	// need are flags that must be given, may those that can be; of several names
	// of a flag the first one is what do reads it by.
	need, may string
	// bare are the flags without a value.
	bare string
	// words is how many arguments beside flags there are.
	words int
	// far says that only a real Azure, registry or node can carry it out.
	far bool
	// do carries it out, and returns what is printed as JSON: nil for nothing.
	do func(ctx context.Context, w world, a arguments) (any, error)
}

// arguments are the values of flags by their first name, and the other words.
type arguments struct {
	flags map[string]string
	words []string
}

// forms are the commands of a program, by their words.
func forms(program string) map[string]form {
	switch program {
	case "az":
		all := farAway()
		maps.Copy(all, managed())
		maps.Copy(all, directory())
		return all
	case "skopeo":
		return map[string]form{
			"copy":  {bare: "--all", words: 2, far: true},
			"login": {need: "--username", bare: "--password-stdin", words: 1, far: true, do: password},
		}
	case "ctr":
		return map[string]form{"images import": {may: "-n|--namespace", words: 1, far: true}}
	}
	return nil
}

// password reads the password to its end, as the program does: what writes it
// would be ended by SIGPIPE otherwise, sometimes.
func password(_ context.Context, w world, a arguments) (any, error) {
	if a.flags["--password-stdin"] == "" {
		return nil, nil
	}
	n, err := io.Copy(io.Discard, w.in)
	if err == nil && n == 0 {
		err = errors.New("there is no password on its input")
	}
	return nil, err
}

// command holds a command against its form, and carries it out.
func (w world) command(ctx context.Context, program string, args []string) error {
	name, f, rest, err := find(program, args)
	if err != nil {
		return err
	}
	a, err := f.read(rest)
	if err != nil {
		return fmt.Errorf("%s %s: %w", program, name, err)
	}
	block := w.getenv("DOCS_BLOCK")
	if f.far && block != "sh azure" && block != "sh machine" {
		return fmt.Errorf("%s %s: nothing here carries it out: it belongs in a block of sh azure or sh machine", program, name)
	}
	if f.do == nil {
		return nil
	}
	result, err := f.do(ctx, w, a)
	if err != nil {
		return fmt.Errorf("%s %s: %w", program, name, err)
	}
	return w.print(result, a)
}

// find finds the form of a command by its first words; ctr has a flag in front.
func find(program string, args []string) (name string, f form, rest []string, err error) {
	all := forms(program)
	var flags []string
	if program == "ctr" && len(args) > 2 && args[0] == "-n" {
		flags, args = args[:2], args[2:]
	}
	for n := min(4, len(args)); n > 0; n-- {
		name = strings.Join(args[:n], " ")
		if f, ok := all[name]; ok {
			return name, f, append(flags, args[n:]...), nil
		}
	}
	return "", form{}, nil, fmt.Errorf("%s %s: no command that is known here; those are %s",
		program, strings.Join(args, " "), strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// common are the flags that every command of az has.
const common = "--subscription --query -o|--output --only-show-errors"

// names are the first names of flags by all their names, and bare those of them
// that have no value.
func (f form) names() (first map[string]string, bare map[string]bool) {
	first, bare = map[string]string{}, map[string]bool{}
	for names := range strings.FieldsSeq(f.need + " " + f.may + " " + f.bare + " " + common) {
		for name := range strings.SplitSeq(names, "|") {
			first[name], _, _ = strings.Cut(names, "|")
		}
	}
	for name := range strings.FieldsSeq(f.bare + " --only-show-errors") {
		bare[name] = true
	}
	return first, bare
}

// read reads flags and words as the form has them.
func (f form) read(args []string) (arguments, error) {
	first, bare := f.names()
	a := arguments{flags: map[string]string{}}
	for len(args) > 0 {
		flag, value, joined := strings.Cut(args[0], "=")
		name, known := first[flag]
		switch {
		case !strings.HasPrefix(flag, "-"):
			a.words = append(a.words, args[0])
		case !known:
			return a, fmt.Errorf("no flag %s is known here", flag)
		case bare[name]:
			a.flags[name] = "true"
		default:
			if !joined {
				value, args = values(name, args)
			}
			if value == "" {
				return a, fmt.Errorf("flag %s has no value", flag)
			}
			a.flags[name] = value
		}
		args = args[1:]
	}
	return a, f.complete(a)
}

// values are what follows a flag, several for one that takes several, and the
// arguments from the last of them on.
func values(name string, args []string) (string, []string) {
	var all []string
	for len(args) > 1 && !strings.HasPrefix(args[1], "--") && (len(all) == 0 || name == "--identities" && !strings.HasPrefix(args[1], "-")) {
		all, args = append(all, args[1]), args[1:]
	}
	return strings.Join(all, " "), args
}

// complete says what is missing.
func (f form) complete(a arguments) error {
	for names := range strings.FieldsSeq(f.need) {
		if name, _, _ := strings.Cut(names, "|"); a.flags[name] == "" {
			return fmt.Errorf("flag %s is missing", name)
		}
	}
	if len(a.words) != f.words {
		return fmt.Errorf("%d words beside flags (%q), want %d", len(a.words), a.words, f.words)
	}
	return a.hold()
}

// print prints a result as az does: JSON, or for --output tsv the bare values.
func (w world) print(result any, a arguments) error {
	if result == nil || a.flags["-o"] == "none" {
		return nil
	}
	b, err := json.Marshal(result)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if q := a.flags["--query"]; q != "" {
		if v, err = query(v, q); err != nil {
			return fmt.Errorf("--query %s: %w", q, err)
		}
	}
	switch a.flags["-o"] {
	case "", "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(w.out, string(b))
		}
		return err
	case "tsv":
		_, err := fmt.Fprint(w.out, tsv(v))
		return err
	}
	return fmt.Errorf("--output %s is not known here", a.flags["-o"])
}
