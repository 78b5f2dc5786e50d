package main

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	tests := map[string]struct {
		samples, percent int
		want             float64
		fails            bool
	}{
		"the 99th of a thousand":       {samples: 1000, percent: 99, want: 990},
		"the 99th of fewer":            {samples: 999, percent: 99, fails: true},
		"the 95th of two hundred":      {samples: 200, percent: 95, want: 190},
		"the 95th of fewer":            {samples: 199, percent: 95, fails: true},
		"the middle of a thousand":     {samples: 1000, percent: 50, want: 500},
		"the 99th of nothing measured": {percent: 99, fails: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var took []time.Duration
			for i := tc.samples; i > 0; i-- { // the longest first
				took = append(took, time.Duration(i)*time.Millisecond)
			}
			got, err := latency(took, tc.percent)
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("latency() = %g, %v; want %g, failure %t", got, err, tc.want, tc.fails)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	tests := map[string]struct {
		values []float64
		want   float64
	}{
		"one":                 {[]float64{3}, 3},
		"an odd number":       {[]float64{9, 1, 5}, 5},
		"an even number":      {[]float64{4, 1, 2, 9}, 3},
		"and one not ordered": {[]float64{2, 1}, 1.5},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := median(tc.values); got != tc.want {
				t.Errorf("median(%v) = %g, want %g", tc.values, got, tc.want)
			}
		})
	}
}
