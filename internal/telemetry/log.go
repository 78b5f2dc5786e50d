// Package telemetry is how podid's programs are seen from outside: the logger
// and its bridges, health, and the servers for health and metrics.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2" //nolint:depguard // the bridge itself
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// NewLogger makes the logger of a program, and the level that it has, which can
// be changed while it runs. level is debug, info, warn or error; format is text
// or json.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	l := new(slog.LevelVar)
	if err := setLevel(l, level); err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: l}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), l, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), l, nil
	default:
		return nil, nil, fmt.Errorf("log format %q is unknown: use text or json", format)
	}
}

func setLevel(l *slog.LevelVar, level string) error {
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("log level %q is unknown: use debug, info, warn or error", level)
	}
	return nil
}

// Bridge sends what the Kubernetes libraries log, through klog and through
// logr, to l. It sets process-wide state: call it once, from main.
func Bridge(l *slog.Logger) {
	klog.SetSlogLogger(l)
	ctrllog.SetLogger(logr.FromSlogHandler(l.Handler()))
}
