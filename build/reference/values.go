package main

import (
	"bufio"
	"context"
	_ "embed" // what AAD Pod Identity's chart had
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// theirs are the values of AAD Pod Identity's chart.
//
//go:embed aad-pod-identity.txt
var theirs string

// value is what values.schema.json says of a value, as far as it is told here.
type value struct {
	Type        any              `json:"type"` // a word, or several
	Enum        []any            `json:"enum"`
	Description string           `json:"description"`
	Properties  map[string]value `json:"properties"`
	Items       *value           `json:"items"`
	Pattern     string           `json:"pattern"`
}

// valuesPage is the reference of the chart's values.
func valuesPage(_ context.Context, root string) (*page, error) {
	folder := filepath.Join(root, "charts/podid")
	text, err := os.ReadFile(filepath.Join(folder, "values.yaml"))
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if text, err = os.ReadFile(filepath.Join(folder, "values.schema.json")); err != nil {
		return nil, err
	}
	var schema value
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, err
	}
	t := teller{page: newPage("Values of the chart",
		"Of [charts/podid](../../charts/podid/values.yaml). A key that is not here is refused by name. The last column says what AAD Pod Identity's chart 4.1.18 had: the value under the same name, or under another, which is taken too. [install.md](../install.md) says which to choose.")}
	if t.origins, err = origins(theirs); err != nil {
		return nil, err
	}
	return t.page, t.tell(document.Content[0], schema)
}

// teller writes the page of values.
type teller struct {
	page    *page
	origins map[string]string
	rows    [][]string
}

// tell adds all values: those that stand alone first, then each group.
func (t *teller) tell(top *yaml.Node, schema value) error {
	var groups []*yaml.Node // keys and values in turn
	for key, v := range pairs(top) {
		if v.Kind == yaml.MappingNode && len(v.Content) > 0 {
			groups = append(groups, key, v)
			continue
		}
		if err := t.add(key.Value, key, v, schema.Properties[key.Value]); err != nil {
			return err
		}
	}
	t.flush("General", "")
	for i := 0; i < len(groups); i += 2 {
		name := groups[i].Value
		if err := t.walk(name, groups[i+1], schema.Properties[name]); err != nil {
			return err
		}
		intro, _ := comment(groups[i])
		t.flush(name, intro)
	}
	if len(t.origins) > 0 {
		return fmt.Errorf("AAD Pod Identity's chart had %v, values.yaml has not", slices.Sorted(maps.Keys(t.origins)))
	}
	return nil
}

// flush ends a section.
func (t *teller) flush(title, intro string) {
	t.page.heading(2, title)
	t.page.say(plain(intro))
	t.page.table([]string{"value", "type", "default", "what", "in AAD Pod Identity"}, t.rows)
	t.rows = nil
}

// walk adds what is in a mapping.
func (t *teller) walk(at string, mapping *yaml.Node, schema value) error {
	for key, v := range pairs(mapping) {
		path, s := at+"."+key.Value, schema.Properties[key.Value]
		var err error
		if len(s.Properties) > 0 && len(v.Content) > 0 {
			err = t.walk(path, v, s)
		} else {
			err = t.add(path, key, v, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add adds a row, and one for each key that the schema alone knows.
func (t *teller) add(path string, key, v *yaml.Node, s value) error {
	_, what := comment(key)
	if what == "" {
		return fmt.Errorf("values.yaml does not say what %s is: write a comment before it that begins with --", path)
	}
	var plainValue any
	if err := v.Decode(&plainValue); err != nil {
		return err
	}
	t.row(path, s, shown(plainValue), what)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		inner := s.Properties[name]
		if inner.Description == "" {
			return fmt.Errorf("values.schema.json does not say what %s.%s is", path, name)
		}
		t.row(path+"."+name, inner, "", inner.Description)
	}
	return nil
}

func (t *teller) row(path string, s value, standard, what string) {
	t.rows = append(t.rows, []string{code(path), typeOf(s), code(standard), plain(what), t.origins[path]})
	delete(t.origins, path)
}

// shown is a default as one writes it. Nothing, of any type, is nothing.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		if len(v) == 0 {
			return ""
		}
	case map[string]any:
		if len(v) == 0 {
			return ""
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// typeOf is the type of a value, in words.
func typeOf(s value) string {
	switch {
	case slices.Contains(s.Enum, any("true")):
		if slices.Contains(s.Enum, any("")) {
			return "true, false or empty"
		}
		return "true or false"
	case len(s.Enum) > 0:
		var words []string
		for _, v := range s.Enum {
			if v == "" {
				v = "empty"
			} else {
				v = code(fmt.Sprint(v))
			}
			words = append(words, fmt.Sprint(v))
		}
		return strings.Join(words, ", ")
	case strings.Contains(s.Pattern, "ms|s|m|h"):
		return "duration"
	}
	var names []string
	switch t := s.Type.(type) {
	case string:
		names = []string{t}
	case []any:
		for _, name := range t {
			names = append(names, fmt.Sprint(name))
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "null" })
	if i := slices.Index(names, "array"); i >= 0 && s.Items != nil {
		if names[i] = "list"; len(s.Items.Enum) > 0 {
			names[i] = "list of " + typeOf(*s.Items)
		}
	}
	return strings.Join(names, " or ")
}

// comment is what stands before a key: what introduces a group, and what says what
// the key is.
func comment(key *yaml.Node) (intro, what string) {
	var before, after []string
	for line := range strings.SplitSeq(key.HeadComment, "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		if text, ok := strings.CutPrefix(line, "-- "); ok {
			after = append(after, text)
		} else {
			before = append(before, line)
		}
	}
	return strings.Join(before, " "), strings.Join(after, " ")
}

// pairs are the keys and values of a mapping.
func pairs(mapping *yaml.Node) func(yield func(key, v *yaml.Node) bool) {
	return func(yield func(key, v *yaml.Node) bool) {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if !yield(mapping.Content[i], mapping.Content[i+1]) {
				return
			}
		}
	}
}

// origins say where values of this chart come from, by their path.
func origins(list string) (map[string]string, error) {
	from := make(map[string]string)
	lines := bufio.NewScanner(strings.NewReader(list))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		from[words[0]] = "the same"
		if len(words) == 1 {
			continue
		}
		from[words[0]] += ", now " + code(words[1])
		if before := from[words[1]]; before != "" {
			from[words[1]] = before + ", " + code(words[0])
			continue
		}
		from[words[1]] = code(words[0])
	}
	return from, lines.Err()
}
