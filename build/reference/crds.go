package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// schema is what a definition says of a field.
type schema = apiextensionsv1.JSONSchemaProps

// crdsPage is the reference of the four kinds.
func crdsPage(_ context.Context, root string) (*page, error) {
	files, err := filepath.Glob(filepath.Join(root, "config/crd/*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no definitions: %w", err)
	}
	p := newPage("Kinds",
		"The kinds of the group `aadpodidentity.k8s.io`, version `v1`, as [config/crd](../../config/crd) defines them. Fields that AAD Pod Identity's releases before 1.6 wrote in another case are taken under both spellings. [who.md](../who.md) says who should write which kind.")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &definition); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		tellKind(p, &definition)
	}
	return p, nil
}

func tellKind(p *page, d *apiextensionsv1.CustomResourceDefinition) {
	names, version := d.Spec.Names, d.Spec.Versions[0]
	p.heading(2, names.Kind)
	s := version.Schema.OpenAPIV3Schema
	p.say(plain(s.Description))
	short := ""
	if len(names.ShortNames) > 0 {
		short = ", or `" + strings.Join(names.ShortNames, "`, `") + "`"
	}
	status := "no subresource for its status"
	if version.Subresources != nil && version.Subresources.Status != nil {
		status = "a subresource for its status"
	}
	p.say(fmt.Sprintf("%s, with %s. `kubectl get %s`%s shows %s.", d.Spec.Scope, status, names.Plural, short, columns(version.AdditionalPrinterColumns)))
	if selectable := version.SelectableFields; len(selectable) > 0 {
		var fields []string
		for _, f := range selectable {
			fields = append(fields, code(strings.TrimPrefix(f.JSONPath, ".")))
		}
		p.say("Lists can be narrowed with `--field-selector` by " + strings.Join(fields, ", ") + ", from Kubernetes 1.31 on.")
	}
	for _, part := range []string{"spec", "status"} {
		if of, ok := s.Properties[part]; ok {
			tellPart(p, names.Kind, part, &of)
		}
	}
}

// columns are those of kubectl get.
func columns(list []apiextensionsv1.CustomResourceColumnDefinition) string {
	words := make([]string, 0, len(list))
	for _, c := range list {
		name := c.Name
		if c.Priority > 0 {
			name += " (with `-o wide`)"
		}
		words = append(words, name)
	}
	return strings.Join(words, ", ")
}

// tellPart adds spec or status.
func tellPart(p *page, kind, part string, s *schema) {
	p.heading(3, kind+": "+part)
	rows, refusals := fields(part, s)
	p.table([]string{"field", "type", "required", "what", "must be", "old spelling"}, rows)
	if len(refusals) > 0 {
		p.say("The API server refuses an object with these words:")
		p.text.WriteString("\n")
		for _, words := range refusals {
			p.text.WriteString("- " + plain(words) + "\n")
		}
	}
}

// fields are the rows of a table, and what the API server says where rules of s
// do not hold.
func fields(at string, s *schema) (rows [][]string, refusals []string) {
	for _, r := range s.XValidations {
		refusals = append(refusals, r.Message)
	}
	old := make(map[string]string) // by the name of today
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if today := formerly(s.Properties[name].Description); today != "" {
			old[today] = name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		if formerly(f.Description) != "" {
			continue
		}
		required := ""
		if slices.Contains(s.Required, name) {
			required = "yes"
		}
		rows = append(rows, []string{code(at + "." + name), kindOf(&f), required, plain(f.Description), limits(&f), code(old[name])})
		inner, path := &f, at+"."+name
		if f.Items != nil {
			inner, path = f.Items.Schema, path+"[]"
		}
		if f.XEmbeddedResource || isCondition(inner) {
			continue
		}
		more, words := fields(path, inner)
		rows, refusals = append(rows, more...), append(refusals, words...)
	}
	return rows, refusals
}

var deprecated = regexp.MustCompile(`^Old\w+ is deprecated: write (\w+)\.$`)

// formerly is today's name of a field that is there for its old spelling alone.
func formerly(description string) string {
	if m := deprecated.FindStringSubmatch(description); m != nil {
		return m[1]
	}
	return ""
}

// isCondition says whether s is a condition as Kubernetes' own kinds have it.
func isCondition(s *schema) bool {
	_, transition := s.Properties["lastTransitionTime"]
	_, reason := s.Properties["reason"]
	return transition && reason
}

// kindOf is the type of a field.
func kindOf(s *schema) string {
	switch {
	case s.XEmbeddedResource:
		return "object, a whole one"
	case s.Items != nil && isCondition(s.Items.Schema):
		return "list of conditions"
	case s.Items != nil:
		return "list of " + kindOf(s.Items.Schema)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map to " + kindOf(s.AdditionalProperties.Schema)
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

// limits are what the schema asks of a value, in words.
func limits(s *schema) string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if len(s.Enum) > 0 {
		values := make([]string, 0, len(s.Enum))
		for _, v := range s.Enum {
			values = append(values, code(strings.Trim(string(v.Raw), `"`)))
		}
		say("one of %s", strings.Join(values, ", "))
	}
	if s.MinLength != nil {
		say("at least %d characters", *s.MinLength)
	}
	if s.MaxLength != nil {
		say("at most %d characters", *s.MaxLength)
	}
	if s.Minimum != nil {
		say("at least %g", *s.Minimum)
	}
	if s.Maximum != nil {
		say("at most %g", *s.Maximum)
	}
	if s.MaxItems != nil {
		say("at most %d", *s.MaxItems)
	}
	if s.MaxProperties != nil {
		say("at most %d", *s.MaxProperties)
	}
	if s.Pattern != "" {
		say("like %s", code(s.Pattern))
	}
	for _, inner := range []*schema{itemOf(s), valueOf(s)} {
		if inner != nil && !isCondition(inner) {
			if each := limits(inner); each != "" {
				say("each %s", each)
			}
		}
	}
	if s.Nullable {
		say("or null")
	}
	return strings.Join(words, ", ")
}

func itemOf(s *schema) *schema {
	if s.Items == nil {
		return nil
	}
	return s.Items.Schema
}

func valueOf(s *schema) *schema {
	if s.AdditionalProperties == nil {
		return nil
	}
	return s.AdditionalProperties.Schema
}
