package telemetry

import (
	"strings"

	"github.com/spf13/pflag"
)

// Deprecate hides a flag and has a line on standard error say what to use in its
// place. The flag must exist.
func Deprecate(f *pflag.FlagSet, name, instead string) {
	if err := f.MarkDeprecated(name, instead); err != nil {
		panic(err) // the name is misspelt in the program
	}
}

// AddOldLogFlags adds the flags that AAD Pod Identity had from klog. They are
// taken and have no effect.
func AddOldLogFlags(f *pflag.FlagSet) {
	// Those that are true or false may stand alone.
	for name, alone := range map[string]bool{
		"alsologtostderr": true, "logtostderr": true, "one_output": true, "skip_headers": true, "skip_log_headers": true, "add_dir_header": true,
		"log_backtrace_at": false, "log_dir": false, "log_file": false, "log_file_max_size": false, "stderrthreshold": false, "vmodule": false,
	} {
		f.String(name, "", "")
		if alone {
			f.Lookup(name).NoOptDefVal = "true"
		}
		Deprecate(f, name, "it has no effect: the log goes to standard error, see --log-level and --log-format")
	}
	f.StringP("v", "v", "", "")
	Deprecate(f, "v", "it has no effect: use --log-level")
}

// DoubleDashes is args with two dashes where a long flag of f was written with
// one, as programs take it that use Go's package flag.
func DoubleDashes(f *pflag.FlagSet, args []string) []string {
	out := make([]string, 0, len(args))
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && len(name) > 1 && f.Lookup(name) != nil {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}
