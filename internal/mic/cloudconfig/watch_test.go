package cloudconfig_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// watched is a watcher that runs, and what it said.
type watched struct {
	t       *testing.T
	applied chan string // secrets
	reports chan error
}

// watch starts a watcher of path, for a secret that is in use. What fails once,
// when it is to be applied, is a secret "refused".
func watch(t *testing.T, path string) *watched {
	t.Helper()
	getenv := func(string) string { return "" }
	now, err := cloudconfig.Read(path, getenv)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, applied: make(chan string, 8), reports: make(chan error, 64)}
	watcher := cloudconfig.NewWatcher(cloudconfig.WatcherConfig{
		Path: path, Getenv: getenv, Now: now, Log: slog.New(slog.DiscardHandler),
		Apply: func(c cloudconfig.Config) error {
			if c.ARM.Secret == "refused" {
				return errors.New("refused it")
			}
			w.applied <- string(c.ARM.Secret) + string(c.ARM.Certificate)
			return nil
		},
		Report: func(err error) { w.reports <- err },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- watcher.Run(ctx) }() // ends with cancel
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.says("") // it watches
	return w
}

const patience = 50 * time.Second // less than the time between looks that nothing asks for

// applies waits until a secret is in use.
func (w *watched) applies(want string) {
	w.t.Helper()
	select {
	case got := <-w.applied:
		if got != want {
			w.t.Errorf("applied %q, want %q", got, want)
		}
	case <-time.After(patience):
		w.t.Fatalf("%q was never applied", want)
	}
}

// says waits until a look said want, or nothing for an empty one.
func (w *watched) says(want string) {
	w.t.Helper()
	late := time.After(patience)
	for {
		select {
		case err := <-w.reports:
			if err == nil && want == "" || err != nil && want != "" && strings.Contains(err.Error(), want) {
				return
			}
		case <-late:
			w.t.Fatalf("no look ever said %q", want)
		}
	}
}

func withSecret(secret string) string {
	return `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "aadClientSecret": "` + secret + `"}`
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestAChangeCountsAtOnce(t *testing.T) {
	for sentence, test := range map[string]struct {
		// arrange makes azure.json in dir and returns its path and how it is changed.
		arrange func(t *testing.T, dir string) (path string, change func(secret string))
	}{
		"written in place": {func(t *testing.T, dir string) (string, func(string)) {
			t.Helper()
			return write(t, dir, "azure.json", withSecret("first")), func(secret string) {
				write(t, dir, "azure.json", withSecret(secret))
			}
		}},
		"another file renamed over it": {func(t *testing.T, dir string) (string, func(string)) {
			t.Helper()
			path := write(t, dir, "azure.json", withSecret("first"))
			return path, func(secret string) {
				must(t, os.Rename(write(t, dir, "azure.json.new", withSecret(secret)), path))
			}
		}},
		"the volume of a Secret": {func(t *testing.T, dir string) (string, func(string)) {
			t.Helper()
			put := func(secret string) {
				version := filepath.Join(dir, "..version-"+secret)
				must(t, os.Mkdir(version, 0o700))
				write(t, version, "azure.json", withSecret(secret))
				must(t, os.Symlink(filepath.Base(version), filepath.Join(dir, "..next")), os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
			}
			put("first")
			path := filepath.Join(dir, "azure.json")
			must(t, os.Symlink("..data/azure.json", path))
			return path, put
		}},
		"behind a link to another folder": {func(t *testing.T, dir string) (string, func(string)) {
			t.Helper()
			elsewhere := t.TempDir()
			path := filepath.Join(dir, "azure.json")
			must(t, os.Symlink(write(t, elsewhere, "real.json", withSecret("first")), path))
			return path, func(secret string) {
				must(t, os.Rename(write(t, elsewhere, "new", withSecret(secret)), filepath.Join(elsewhere, "real.json")))
			}
		}},
		"removed and made again": {func(t *testing.T, dir string) (string, func(string)) {
			t.Helper()
			path := write(t, dir, "azure.json", withSecret("first"))
			return path, func(secret string) {
				must(t, os.Remove(path))
				write(t, dir, "azure.json", withSecret(secret))
			}
		}},
	} {
		t.Run(sentence, func(t *testing.T) {
			path, change := test.arrange(t, t.TempDir())
			w := watch(t, path)
			for _, secret := range []string{"second", "third"} {
				change(secret)
				w.applies(secret)
			}
		})
	}
}

func TestABrokenFileKeepsWhatWorks(t *testing.T) {
	dir := t.TempDir()
	w := watch(t, write(t, dir, "azure.json", withSecret("first")))
	for _, step := range []struct{ content, says string }{
		{`{"cloud": `, "neither JSON nor YAML"},
		{`{"cloud": "MyCloud", "tenantId": "t", "aadClientId": "c", "aadClientSecret": "s"}`, `cloud "MyCloud" is unknown`},
		{withSecret("refused"), "refused it"},
		{withSecret("first"), ""}, // what is in use anyway
	} {
		write(t, dir, "azure.json", step.content)
		w.says(step.says)
	}
	must(t, os.Remove(filepath.Join(dir, "azure.json")))
	w.says("no such file")
	if len(w.applied) > 0 {
		t.Errorf("applied %q, want nothing", <-w.applied)
	}
	write(t, dir, "azure.json", withSecret("second"))
	w.applies("second")
	w.says("")
}

func TestACertificateIsWatchedToo(t *testing.T) {
	dir, certificates := t.TempDir(), t.TempDir()
	write(t, certificates, "old.pem", "old")
	w := watch(t, write(t, dir, "azure.json", `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "aadClientCertPath": "`+certificates+`/old.pem"}`))
	write(t, certificates, "old.pem", "renewed")
	w.applies("renewed")
	write(t, dir, "azure.json", `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "aadClientCertPath": "`+certificates+`/new.pem"}`)
	w.says("new.pem: no such file")
	write(t, certificates, "new.pem", "new")
	w.applies("new")
}

func TestTheEnvironmentNeedsNoWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := cloudconfig.NewWatcher(cloudconfig.WatcherConfig{Log: slog.New(slog.DiscardHandler)})
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
}
