package main

import (
	"math"
	"strconv"
)

// goal is what the issue demands of a figure. The zero value demands nothing.
type goal struct {
	text      string
	low, high float64 // both are good enough
}

// atMost is the goal of a figure that must not be over a bound.
func atMost(high float64) goal { return goal{"<= " + short(high), math.Inf(-1), high} }

// exactly is the goal of a figure that must be a number, and no other.
func exactly(want float64) goal { return goal{short(want), want, want} }

// between is the goal of a figure with two bounds.
func between(low, high float64) goal { return goal{short(low) + " to " + short(high), low, high} }

// met reports whether a figure is what it must be. One that is not a number is
// none: it was divided by nothing.
func (g goal) met(value float64) bool {
	return g == goal{} || (value >= g.low && value <= g.high)
}

// String is the goal in words, empty where there is none.
func (g goal) String() string { return g.text }

func short(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
