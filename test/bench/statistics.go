package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// beyond is how many samples there must be beyond a percentile of latencies, so
// that it is not told by one or two of them: 1,000 samples for the 99th, 200 for
// the 95th.
const beyond = 10

// latency is a percentile of latencies in milliseconds. It fails where there are
// too few samples for that percentile.
func latency(of []time.Duration, percent int) (float64, error) {
	if least := beyond * 100 / (100 - percent); len(of) < least {
		return 0, fmt.Errorf("%d samples are too few for percentile %d of latencies: %d are needed", len(of), percent, least)
	}
	return milliseconds(rank(of, float64(percent)/100)), nil
}

// longest is the longest of latencies, in milliseconds.
func longest(of []time.Duration) float64 { return milliseconds(slices.Max(of)) }

// rank is the value at a share of the sorted values, nearest rank.
func rank[T ~int64 | ~float64](values []T, share float64) T {
	sorted := slices.Sorted(slices.Values(values))
	at := int(math.Ceil(share*float64(len(sorted)))) - 1
	return sorted[min(len(sorted)-1, max(0, at))]
}

// median of an even number is the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
