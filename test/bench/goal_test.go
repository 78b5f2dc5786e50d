package main

import (
	"math"
	"testing"
)

func TestGoal(t *testing.T) {
	tests := map[string]struct {
		goal  goal
		value float64
		text  string
		want  bool
	}{
		"none":                         {goal{}, math.NaN(), "", true},
		"at the bound":                 {atMost(1.25), 1.25, "<= 1.25", true},
		"over the bound":               {atMost(1.25), 1.2501, "<= 1.25", false},
		"below zero and still a bound": {atMost(5), -3, "<= 5", true},
		"the very number":              {exactly(0), 0, "0", true},
		"another number":               {exactly(0), 1, "0", false},
		"less than the very number":    {exactly(0), -1, "0", false},
		"between two bounds":           {between(0.95, 1.05), 1, "0.95 to 1.05", true},
		"below the lower":              {between(0.95, 1.05), 0.94, "0.95 to 1.05", false},
		"over the upper":               {between(0.95, 1.05), 1.06, "0.95 to 1.05", false},
		"no number at all":             {atMost(5), math.NaN(), "<= 5", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.goal.met(tc.value); got != tc.want {
				t.Errorf("met(%g) = %t, want %t", tc.value, got, tc.want)
			}
			if got := tc.goal.String(); got != tc.text {
				t.Errorf("String() = %q, want %q", got, tc.text)
			}
		})
	}
}
