package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// figure is one result.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Missed says that its goal is not reached.
	Missed bool `json:"missed,omitempty"`
	// Because are the figures that this one follows from.
	Because []string `json:"because,omitempty"`
	goal    goal
}

// report collects figures.
type report struct {
	json    bool
	out     io.Writer
	figures []figure
}

// add adds a figure. Its goal is empty where nothing is demanded of it.
func (r *report) add(name string, value float64, g goal) {
	r.figures = append(r.figures, figure{Name: name, Value: value, Missed: !g.met(value), goal: g})
}

// mostBetweenBare is how far two equal servers may differ.
const mostBetweenBare = 1.02

// equals adds the ratios of two equal servers, and whether they differ so much
// that no ratio of the run counts for anything.
func (r *report) equals(ratios ...figure) {
	void := figure{Name: "void", goal: exactly(0)}
	for _, f := range ratios {
		r.add(f.Name, f.Value, between(1/mostBetweenBare, mostBetweenBare))
		if r.figures[len(r.figures)-1].Missed {
			void.Because = append(void.Because, f.Name)
		}
	}
	if void.Missed = len(void.Because) > 0; void.Missed {
		void.Value = 1
	}
	r.figures = append(r.figures, void)
}

// missed fails where the run is void, or a goal is not reached.
func (r *report) missed() error {
	var errs []error
	for i := range r.figures {
		f := &r.figures[i]
		switch {
		case !f.Missed:
		case f.Name == "void":
			errs = append(errs, fmt.Errorf("the run is void: %s", strings.Join(f.Because, ", ")))
		default:
			errs = append(errs, fmt.Errorf("%s is %.4g, and must be %s", f.Name, f.Value, f.goal))
		}
	}
	return errors.Join(errs...)
}

// flush prints the figures.
func (r *report) flush() error {
	if r.json {
		enc := json.NewEncoder(r.out)
		for i := range r.figures {
			if err := enc.Encode(&r.figures[i]); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for i := range r.figures {
		f := &r.figures[i]
		said := ""
		switch {
		case f.Missed && f.Name == "void":
			said = "the machine was too busy for ratios: " + strings.Join(f.Because, ", ")
		case f.Missed:
			said = "missed"
		}
		fmt.Fprintf(w, "%s\t%.4g\t%s\t%s\n", f.Name, f.Value, f.goal, said)
	}
	return w.Flush()
}
