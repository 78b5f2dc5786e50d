package demo

import (
	"context"
	"io"
	"os/exec"
	"testing"
)

func TestProgramsThatEndByThemselvesAreFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		argv []string
		told bool
		want int
	}{
		"one that fails":             {[]string{"false"}, false, 1},
		"one that has nothing to do": {[]string{"true"}, false, 1},
		"one that is told to":        {[]string{"cat"}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := &World{story: newStory(io.Discard), dir: t.TempDir()}
			ctx, tell := context.WithCancel(t.Context())
			defer tell()
			cmd := exec.CommandContext(ctx, tc.argv[0])
			if tc.told {
				in, err := cmd.StdinPipe() // nobody writes to it
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = in.Close() }()
			}
			ended, err := w.background(ctx, "x", cmd, cmd.Start, cmd.Wait)
			if err != nil {
				t.Fatal(err)
			}
			if tc.told {
				tell()
			}
			<-ended
			if got := w.Failures(); got != tc.want {
				t.Errorf("%d failures, want %d", got, tc.want)
			}
		})
	}
}
