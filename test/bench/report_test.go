package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	tests := map[string]struct {
		of    func(*report)
		json  string
		table string
		err   string
	}{
		"goals that are met": {
			of: func(r *report) {
				r.add("a_ms", 1.5, goal{})
				r.add("a_ratio", 1.25, atMost(1.25))
			},
			json:  `{"name":"a_ms","value":1.5} {"name":"a_ratio","value":1.25}`,
			table: "a_ms 1.5 a_ratio 1.25 <= 1.25",
		},
		"a goal that is missed": {
			of:    func(r *report) { r.add("refused", 3, exactly(0)) },
			json:  `{"name":"refused","value":3,"missed":true}`,
			table: "refused 3 0 missed",
			err:   "refused is 3, and must be 0",
		},
		"equal servers that are about equal": {
			of:    func(r *report) { r.equals(figure{Name: "p50", Value: 1.02}, figure{Name: "cpu", Value: 0.99}) },
			json:  `{"name":"p50","value":1.02} {"name":"cpu","value":0.99} {"name":"void","value":0}`,
			table: "p50 1.02 0.9804 to 1.02 cpu 0.99 0.9804 to 1.02 void 0 0",
		},
		"one of them faster by its processor time": {
			of:    func(r *report) { r.equals(figure{Name: "p50", Value: 1}, figure{Name: "cpu", Value: 0.5}) },
			json:  `{"name":"p50","value":1} {"name":"cpu","value":0.5,"missed":true} {"name":"void","value":1,"missed":true,"because":["cpu"]}`,
			table: "p50 1 0.9804 to 1.02 cpu 0.5 0.9804 to 1.02 missed void 1 0 the machine was too busy for ratios: cpu",
			err:   "cpu is 0.5, and must be 0.9804 to 1.02 the run is void: cpu",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for asJSON, want := range map[bool]string{true: tc.json, false: tc.table} {
				var out strings.Builder
				r := report{json: asJSON, out: &out}
				tc.of(&r)
				if err := r.flush(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, words(out.String())); diff != "" {
					t.Errorf("printed (-want +got):\n%s", diff)
				}
				got := ""
				if err := r.missed(); err != nil {
					got = words(err.Error())
				}
				if diff := cmp.Diff(tc.err, got); diff != "" {
					t.Errorf("missed() (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// words is a text with all its white space alike.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestOnly(t *testing.T) {
	tests := map[string]struct {
		names string
		want  []string // some of them
		not   []string
		err   string
	}{
		"nothing asked for is everything": {names: "", want: []string{"size", "warm", "rss"}},
		"the node agent":                  {names: "nmi", want: []string{"warm", "rss"}, not: []string{"size", "patches", "wake"}},
		"the controller":                  {names: "mic", want: []string{"patches", "large"}, not: []string{"size", "warm", "wake"}},
		"some":                            {names: "warm, wake", want: []string{"warm", "wake"}, not: []string{"rss"}},
		"one that there is not":           {names: "warm,worm", err: `no measurement is called "worm": there are nmi, mic, size, patches,`},
		"an empty one":                    {names: "warm,", err: `no measurement is called ""`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			chosen, err := choose(measurements(1), tc.names)
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("choose(%q) = %v, want %q", tc.names, err, tc.err)
			}
			has := map[string]bool{}
			for _, m := range chosen {
				has[m.name] = true
			}
			for _, n := range tc.want {
				if !has[n] {
					t.Errorf("%s is not among %v", n, has)
				}
			}
			for _, n := range tc.not {
				if has[n] {
					t.Errorf("%s is among %v", n, has)
				}
			}
		})
	}
}
