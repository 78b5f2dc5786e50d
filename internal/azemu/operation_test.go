package azemu

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOperationsThatEndedLongAgoAreForgotten(t *testing.T) {
	now := time.Now()
	c := newCloud(DefaultTenant)
	c.operations["ended long ago"] = &operation{status: failed, end: now.Add(-2 * time.Hour)}
	c.operations["ended"] = &operation{status: succeeded, end: now.Add(-time.Minute)}
	c.operations["hangs"] = &operation{status: inProgress, start: now.Add(-2 * time.Hour)}
	c.forgetOperations(now)
	if diff := cmp.Diff([]string{"ended", "hangs"}, slices.Sorted(maps.Keys(c.operations))); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}
