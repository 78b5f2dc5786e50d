package explain

import (
	"fmt"

	"github.com/podid-io/podid/internal/shell"
)

// command is text for a shell that is ours: each value in it is one word. What
// others write into specs and statuses comes into a Fix by script alone, because a
// person pastes it.
type command string

// script makes commands of a format. Each string among the args becomes one word,
// in quotes where it needs them; a command stays as it is.
func script(format string, args ...any) command {
	words := make([]any, 0, len(args))
	for _, a := range args {
		if s, ok := a.(string); ok {
			a = shell.Quote(s)
		}
		words = append(words, a)
	}
	return command(fmt.Sprintf(format, words...))
}

// apply is the command that applies a manifest in JSON.
func apply(manifest string) command { return script("echo %s | kubectl apply -f -", manifest) }
