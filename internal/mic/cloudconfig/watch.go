package cloudconfig

import (
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"
)

// WatcherConfig says what a Watcher watches, and who takes what it reads.
type WatcherConfig struct {
	// Path and Getenv are those of Read.
	Path   string
	Getenv func(string) string
	// Now is what is used at the start.
	Now Config
	// Apply takes a configuration that differs from the last. When it fails, the
	// last stays. It has to be quick.
	Apply func(Config) error
	// Report is told after each look what is wrong with the files, nil for nothing.
	Report func(error)
	// Log is the logger.
	Log *slog.Logger
}

// Watcher reads the cloud configuration again when one of its files changes.
type Watcher struct {
	config WatcherConfig
	now    Config
	files  []string // of the last look
}

const (
	// settle is how long a change is left alone: who writes a file may not be done.
	settle = 250 * time.Millisecond
	// again is the time between looks that nothing asks for: some filesystems tell
	// of nothing, and a folder may not have been there to be watched.
	again = time.Minute
)

// NewWatcher makes a watcher. It reads nothing.
func NewWatcher(c WatcherConfig) *Watcher {
	return &Watcher{config: c, now: c.Now, files: c.Now.Files}
}

// Run watches until ctx ends. Without files it only waits.
func (w *Watcher) Run(ctx context.Context) error {
	if len(w.files) == 0 {
		<-ctx.Done()
		return nil
	}
	var changes <-chan fsnotify.Event // none, where nothing can be watched
	var faults <-chan error
	events, err := fsnotify.NewWatcher()
	if err != nil {
		w.config.Log.WarnContext(ctx, "the cloud configuration cannot be watched and is read again from time to time", "every", again, "err", err)
	} else {
		defer func() { _ = events.Close() }()
		changes, faults = events.Events, events.Errors
	}
	timer := time.NewTimer(0) // what has changed since the start
	defer timer.Stop()
	waiting := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		case err := <-faults: // such as events that were lost
			w.config.Log.DebugContext(ctx, "watch the cloud configuration", "err", err)
		case <-timer.C:
			waiting = false
			w.follow(events)
			w.look(ctx)
			w.follow(events) // the files of what was read
			timer.Reset(again)
			continue
		}
		if !waiting {
			waiting = true
			timer.Reset(settle)
		}
	}
}

// follow watches the files, for writes in place, and their folders, for what is
// renamed over them: the file itself, or a link on the way to it, as in the
// volume of a Secret.
func (w *Watcher) follow(events *fsnotify.Watcher) {
	if events == nil {
		return
	}
	for _, f := range w.files {
		paths := []string{f, filepath.Dir(f)}
		if target, err := filepath.EvalSymlinks(f); err == nil && target != f {
			paths = append(paths, target, filepath.Dir(target))
		}
		for _, p := range paths {
			_ = events.Add(p) // what is not there yet shows in its folder, or at the next look
		}
	}
}

// look reads the files, and has what is new applied.
func (w *Watcher) look(ctx context.Context) {
	c, err := Read(w.config.Path, w.config.Getenv)
	w.files = c.Files
	if err == nil && !reflect.DeepEqual(c, w.now) {
		if err = w.config.Apply(c); err == nil {
			w.now = c
			w.config.Log.InfoContext(ctx, "the cloud configuration has changed and counts from now on")
		}
	}
	w.config.Report(err)
}
