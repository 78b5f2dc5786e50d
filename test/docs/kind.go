package docs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kind is what a block is, by its words without the status.
type Kind string

// The kinds of blocks; the package's comment says what is done with each.
const (
	Shell   Kind = "sh"
	Yours   Kind = "sh yours"
	Node    Kind = "sh node"
	Azure   Kind = "sh azure"
	Machine Kind = "sh machine"
	Objects Kind = "yaml"
	Foreign Kind = "yaml foreign"
	Values  Kind = "yaml, values"
	JSON    Kind = "json"
	Text    Kind = "text"
)

// Runs says whether blocks of the kind are commands.
func (k Kind) Runs() bool { return strings.HasPrefix(string(k), "sh") }

// valuesLine begins a block of yaml that holds values of the chart.
const valuesLine = "# values.yaml"

// Kind is what the block is, and false if nobody knows.
func (b Block) Kind() (Kind, bool) {
	words := slices.DeleteFunc(slices.Clone(b.Words), func(w string) bool { return strings.HasPrefix(w, "status=") })
	k := Kind(strings.Join(words, " "))
	switch k {
	case Objects:
		if first, _, _ := strings.Cut(b.Text, "\n"); first == valuesLine {
			k = Values
		}
		return k, true
	case Shell, Yours, Node, Azure, Machine, Foreign, JSON, Text:
		return k, true
	default:
		return "", false
	}
}

// Status is that with which the block's last command ends.
func (b Block) Status() (int, error) {
	for _, w := range b.Words {
		value, found := strings.CutPrefix(w, "status=")
		if !found {
			continue
		}
		n, err := strconv.Atoi(value)
		if k, _ := b.Kind(); err != nil || n < 1 || n > 255 || !k.Runs() || k == Yours {
			return 0, fmt.Errorf("%s: commands alone end with a status, of 1 to 255", w)
		}
		return n, nil
	}
	return 0, nil
}

// command says whether a line that begins with this word is one that somebody
// would run.
func command(first string) bool {
	return slices.Contains([]string{
		"$", "#!", "az", "bin/podid", "cd", "crictl", "ctr", "curl", "docker", "export", "flux", "git", "go", "helm", "kubectl", "make",
		"nft", "podid", "skopeo", "sudo",
	}, first)
}

var assignment = regexp.MustCompile(`^[A-Z][A-Z0-9_]*=(\S+|'[^']*'|"[^"$` + "`" + `]*")( +#.*)?$`)

// faults are what is wrong with a block, by its line.
func (b Block) faults() (faults []Fault) {
	add := func(line int, what string, args ...any) {
		faults = append(faults, Fault{Line: line, What: fmt.Sprintf(what, args...)})
	}
	k, known := b.Kind()
	if !known {
		add(b.Line-1, "a block %q: it must be one of those that test/docs/doc.go names", strings.Join(b.Words, " "))
		return faults
	}
	if _, err := b.Status(); err != nil {
		add(b.Line-1, "%v", err)
	}
	if k == JSON && !json.Valid([]byte(b.Text)) {
		add(b.Line, "no JSON")
	}
	for i, line := range strings.Split(strings.TrimRight(b.Text, "\n"), "\n") {
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case k == Text && command(first):
			add(b.Line+i, "a command in a block of text, where nobody runs it: %s", line)
		case k == Yours && !assignment.MatchString(line):
			add(b.Line+i, "not NAME=value: %s", line)
		case k.Runs() && first == "$":
			add(b.Line+i, "a prompt in front of a command: %s", line)
		}
	}
	return faults
}
