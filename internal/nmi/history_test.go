package nmi

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/identity"
)

func TestHistoryIsBoundedForEachIdentity(t *testing.T) {
	h, now := newHistory(), time.Now()
	quiet, loud := identity.Identity{Namespace: "team", Name: "quiet"}, identity.Identity{Namespace: "other", Name: "loud"}
	h.asked(quiet, "https://vault.azure.net", now)
	const many = 4 * longestOfOne
	at := func(i int) time.Time { return now.Add(time.Duration(i) * sweepPause) }
	for i := range many {
		h.asked(loud, fmt.Sprint("r", i), at(i))
	}
	if h.total != 1+longestOfOne || len(h.last[named{"other", "loud"}]) != longestOfOne {
		t.Errorf("%d resources are remembered, %d of the one identity, want at most %d of it", h.total, len(h.last[named{"other", "loud"}]), longestOfOne)
	}
	latest := at(many)
	if got := h.of(loud, latest); len(got) != longestPrefetch || got[0] != fmt.Sprint("r", many-1) {
		t.Errorf("of() = %v, want the latest %d", got, longestPrefetch)
	}
	// One that asks for many by turns has none replaced with every request.
	for i := range longestOfOne {
		h.asked(loud, fmt.Sprint("r", many-1-i), latest)
	}
	if h.asked(loud, "one more", latest.Add(sweepPause/2)); slices.Contains(h.of(loud, latest), "one more") {
		t.Error("what was asked for just now is forgotten for the next")
	}
	if diff := cmp.Diff([]string{"https://vault.azure.net"}, h.of(quiet, latest)); diff != "" {
		t.Errorf("of another identity (-want +got):\n%s", diff)
	}
}

func TestHistoryForgetsWhatIsOlderThanADay(t *testing.T) {
	h, now := newHistory(), time.Now()
	for i := range longestHistory {
		h.asked(identity.Identity{Name: fmt.Sprint("old", i)}, "r", now)
	}
	young := identity.Identity{Name: "young"}
	if h.asked(young, "r", now); len(h.of(young, now)) != 0 {
		t.Error("more is remembered than there is room for")
	}
	// To look through all of it takes a hundred times as long as a request.
	swept := h.swept
	if h.asked(young, "r", now.Add(sweepPause/2)); h.swept != swept || swept.IsZero() {
		t.Error("a full history is looked through with every request")
	}
	now = now.Add(remembered + time.Minute)
	h.asked(young, "r", now)
	if diff := cmp.Diff([]string{"r"}, h.of(young, now)); diff != "" || h.total != 1 || len(h.last) != 1 {
		t.Errorf("a day later %d are remembered of %d identities, and (-want +got):\n%s", h.total, len(h.last), diff)
	}
}
