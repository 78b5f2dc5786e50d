package mic

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/compute"
)

func TestOutcomesOfCalls(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for sentence, test := range map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"it went well":           {t.Context(), nil, "ok"},
		"mic ends":               {stopped, &compute.Error{Err: context.Canceled}, "canceled"},
		"it took too long":       {late, &compute.Error{Err: context.DeadlineExceeded}, "failed"},
		"somebody is in the way": {t.Context(), &compute.Error{Kind: compute.Conflict}, "conflict"},
		"no error of Azure's":    {t.Context(), errors.New("oops"), "failed"},
	} {
		if got := outcome(test.ctx, test.err); got != test.want {
			t.Errorf("%s: outcome %q, want %q", sentence, got, test.want)
		}
	}
}
