package legacy

import (
	"fmt"
	"testing"
	"time"
)

func TestAnObservationJudgesByWhatItSees(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	lock := func(holder string, seconds int, renewed time.Duration) string {
		return fmt.Sprintf(`{"holderIdentity": %q, "leaseDurationSeconds": %d, "acquireTime": "2025-01-01T00:00:00Z", "renewTime": %q, "leaderTransitions": 1}`,
			holder, seconds, start.Add(renewed).Format(time.RFC3339))
	}
	type sight struct {
		at     time.Duration
		record string
	}
	for sentence, test := range map[string]struct {
		sights []sight
		at     time.Duration
		want   bool
	}{
		"no lock":                        {sights: []sight{{0, ""}}},
		"first seen, renewed just now":   {sights: []sight{{0, lock("mic-0", 15, 0)}}, at: 10 * time.Second, want: true},
		"it stands still":                {sights: []sight{{0, lock("mic-0", 15, 0)}, {19 * time.Second, lock("mic-0", 15, 0)}}, at: 21 * time.Second},
		"it is renewed":                  {sights: []sight{{0, lock("mic-0", 15, 0)}, {19 * time.Second, lock("mic-0", 15, 4*time.Second)}}, at: 30 * time.Second, want: true},
		"a clock that is minutes behind": {sights: []sight{{0, lock("mic-0", 15, -5*time.Minute)}}, at: time.Second, want: true},
		"a clock that is ahead":          {sights: []sight{{0, lock("mic-0", 15, time.Hour)}}, at: time.Second, want: true},
		"a clock ahead, and no renewal":  {sights: []sight{{0, lock("mic-0", 15, time.Hour)}}, at: time.Minute},
		"left behind long ago":           {sights: []sight{{0, lock("mic-0", 15, -time.Hour)}}, at: time.Second},
		"left behind, then renewed by a clock that is hours behind": {
			sights: []sight{{0, lock("mic-0", 15, -2*time.Hour)}, {time.Second, lock("mic-0", 15, -2*time.Hour+4*time.Second)}}, at: 2 * time.Second, want: true,
		},
		"given back":                       {sights: []sight{{0, lock("mic-0", 15, 0)}, {time.Second, lock("", 1, time.Second)}}, at: 2 * time.Second},
		"taken again":                      {sights: []sight{{0, lock("", 1, 0)}, {time.Second, lock("mic-1", 15, time.Second)}}, at: 2 * time.Second, want: true},
		"deleted":                          {sights: []sight{{0, lock("mic-0", 15, 0)}, {time.Second, ""}}, at: 2 * time.Second},
		"a lease of a minute":              {sights: []sight{{0, lock("mic-0", 60, 0)}}, at: time.Minute, want: true},
		"a lease of a year is not awaited": {sights: []sight{{0, lock("mic-0", 365*24*3600, 0)}}, at: time.Hour},
		"no number is the usual one":       {sights: []sight{{0, lock("mic-0", 0, 0)}}, at: 21 * time.Second},
		"nonsense counts as somebody":      {sights: []sight{{0, "{"}}, at: time.Second, want: true},
		"nonsense that stands still":       {sights: []sight{{0, "{"}}, at: time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			var o observation
			for _, s := range test.sights {
				o.see(s.record, start.Add(s.at))
			}
			if got := o.leads(start.Add(test.at)); got != test.want {
				t.Errorf("leads() = %t, want %t: %+v", got, test.want, o)
			}
		})
	}
}
