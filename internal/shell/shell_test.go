package shell_test

import (
	"os/exec"
	"testing"

	"github.com/podid-io/podid/internal/shell"
)

// TestAWordStaysOneWord: what a shell makes of a quoted word is the word.
func TestAWordStaysOneWord(t *testing.T) {
	for _, word := range []string{
		"plain", "two words", "it's", `$(touch /nowhere)`, "`x`", `"`, `\`, "a;b", "*", "", "''", `{"a": "b"}`, "~", "-n", "a\\'b", "#", "!!", "ä",
	} {
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf '%s|' "+shell.Quote(word)).Output()
		if err != nil || string(out) != word+"|" {
			t.Errorf("%q became %q: %v", word, out, err)
		}
	}
}

func TestNothingSteersATerminal(t *testing.T) {
	for s, want := range map[string]string{
		"a\x1b[2J\nb":           "a[2Jb",
		"\x1b]0;owned\x07":      "]0;owned",
		"a\u009b31mb":           "a31mb",
		"one\u2028two\u2029":    "onetwo",
		"user\u202e\u2066txt":   "usertxt",
		"zero\u200bwidth\ufeff": "zerowidth",
		"a\xffb":                "a\ufffdb",
		"größe 1 — “x”":         "größe 1 — “x”",
	} {
		if got := shell.Printable(s); got != want {
			t.Errorf("Printable(%q) = %q, want %q", s, got, want)
		}
		if got := shell.Quote(s + "'"); got != "'"+want+`'\'''` {
			t.Errorf("Quote(%q) = %q", s+"'", got)
		}
	}
}
