package chart_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestKeysWithNothingBelow renders each value as a file has it that keeps the key and
// has nothing after it but comments: null, which takes the chart's own away. It counts
// as nothing said, or is refused by name where the chart does not go without; of the
// few in omitted it means none.
func TestKeysWithNothingBelow(t *testing.T) {
	for base, values := range map[string]string{
		"by default": "{}",
		"where much is on": "compatibility: aad-pod-identity\nnmi: {authorityHosts: [login.example]}\nmic: {customCloud: {enabled: true}}\n" +
			"metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}",
		"where services are scraped": "metrics: {serviceMonitor: {enabled: true}}",
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			unsaid, err := (key{}).render(t, values, map[string]any{})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys(t) {
				if base == "where services are scraped" && k.path[0] != "metrics" {
					continue // these are as by default
				}
				t.Run(strings.Join(k.path, "."), func(t *testing.T) {
					t.Parallel()
					k.try(t, values, unsaid)
				})
			}
		})
	}
}

// key is that of a value.
type key struct {
	path   []string
	says   any  // what its null says in more words
	needed bool // the chart does not go without it
}

// keys are all of values.yaml.
func keys(t *testing.T) []key {
	t.Helper()
	values, schema := valuesAndSchema(t)
	return below(nil, values, schema)
}

// omitted are the values whose null says, as Helm has it, that there is to be none:
// what they are of goes well without. Each is beside values that it counts with.
var omitted = map[string]string{
	"image.imagePullPolicy":           "{}",
	"metrics.serviceMonitor.interval": "metrics: {serviceMonitor: {enabled: true}}",
	"metrics.podMonitor.interval":     "metrics: {podMonitor: {enabled: true}}",
}

// TestNullsThatMeanNone holds that with the null of such a value all is as before but
// for its field, which is nowhere.
func TestNullsThatMeanNone(t *testing.T) {
	for path, values := range omitted {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			k := key{path: strings.Split(path, ".")}
			before, err := (key{}).render(t, values, map[string]any{})
			if err != nil {
				t.Fatal(err)
			}
			after, err := k.render(t, values, nil)
			if err != nil {
				t.Fatal(err)
			}
			field, gone := k.path[len(k.path)-1], 0
			var want []any
			for _, o := range objects(t, before) {
				gone += without(o.Object, field)
				want = append(want, o.Object)
			}
			if gone == 0 {
				t.Fatalf("no %s to take away with %s", field, values)
			}
			var got []any
			for _, o := range objects(t, after) {
				got = append(got, o.Object)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("objects (-without %s +null):\n%s", field, diff)
			}
		})
	}
}

// without takes a field out of v, wherever it is there, and says how often it was.
func without(v any, field string) (n int) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v[field]; ok {
			delete(v, field)
			n++
		}
		for _, below := range v {
			n += without(below, field)
		}
	case []any:
		for _, below := range v {
			n += without(below, field)
		}
	}
	return n
}

func below(path []string, values, schema map[string]any) (list []key) {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		k := key{path: append(slices.Clone(path), name), needed: slices.Contains(required, any(name))}
		own, _ := properties[name].(map[string]any)
		switch value := values[name].(type) {
		case []any:
			k.says = []any{}
		case map[string]any:
			k.says = value
			if own["additionalProperties"] == false {
				list = append(list, below(k.path, value, own)...)
				break
			}
			nothing := map[string]any{} // whose keys are anybody's
			for name := range value {
				nothing[name] = nil
			}
			k.says = nothing
		default:
			k.says = value
			if _, none := omitted[strings.Join(k.path, ".")]; none {
				k.says = ""
			}
		}
		list = append(list, k)
	}
	return list
}

// try renders the chart with values and the key's null. Where that is the rendering of
// values alone, nothing was said.
func (k key) try(t *testing.T, values, unsaid string) {
	t.Helper()
	got, err := k.render(t, values, nil)
	if k.needed {
		last := len(k.path) - 1
		if want := "at '" + strings.Join(append([]string{""}, k.path[:last]...), "/") + "': missing property '" + k.path[last] + "'"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got == unsaid {
		return
	}
	want, err := k.render(t, values, k.says)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rendering (-in words +null):\n%s", diff)
	}
}

// render renders the chart with values and, after them, one of the key.
func (k key) render(t *testing.T, values string, value any) (string, error) {
	t.Helper()
	for _, name := range slices.Backward(k.path) {
		value = map[string]any{name: value}
	}
	own, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, text := range []string{values, string(own)} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--values", file)
	}
	return render(t, args...)
}
