package assignment

import (
	"testing"
	"time"

	"github.com/podid-io/podid/internal/assign"
)

func TestAWindowIsOpenWhileMoreIsNeeded(t *testing.T) {
	const length = time.Second
	start := time.Unix(1000, 0)
	type look struct {
		after time.Duration
		needs []string
	}
	many := func(n int, every time.Duration) (looks []look) {
		var ids []string
		for i := range n {
			ids = append(ids, string(rune('a'+i)))
			looks = append(looks, look{time.Duration(i) * every, ids})
		}
		return looks
	}
	tests := map[string]struct {
		window window
		looks  []look
		want   time.Duration // when it is over
	}{
		"one need":                         {looks: []look{{0, []string{"a"}}}, want: length},
		"the same need again":              {looks: []look{{0, []string{"a"}}, {length / 2, []string{"a"}}}, want: length},
		"another need":                     {looks: []look{{0, []string{"a"}}, {length / 2, []string{"a", "b"}}}, want: length * 3 / 2},
		"a need that goes":                 {looks: []look{{0, []string{"a", "b"}}, {length / 2, []string{"a"}}}, want: length},
		"no end of needs":                  {looks: many(20, length*3/4), want: longestWindow * length},
		"what has waited for a PATCH":      {window: opened(start.Add(-time.Minute)), looks: []look{{0, []string{"a"}}}, want: length - time.Minute},
		"more than what waited, after all": {window: opened(start.Add(-length)), looks: []look{{0, []string{"a"}}, {1, []string{"b"}}}, want: length + 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := tc.window
			for _, l := range tc.looks {
				w.notice(assign.Changes{Attach: l.needs}, start.Add(l.after))
			}
			if got := w.over(length).Sub(start); got != tc.want {
				t.Errorf("it is over after %s, want %s", got, tc.want)
			}
		})
	}
	var none window
	none.notice(assign.Changes{Attach: []string{"a"}}, start)
	if none.over(-1).After(start) {
		t.Error("a window of no length is open")
	}
}
