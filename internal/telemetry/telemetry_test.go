package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/test/leaks"
)

// patience is for what takes milliseconds on a machine that is not busy.
const patience = time.Minute

func TestMain(m *testing.M) { leaks.Main(m) }

func TestReadyzNamesWhatIsMissing(t *testing.T) {
	h := telemetry.NewHealth("redirect", "view")
	mux := http.NewServeMux()
	h.Register(mux)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	steps := []struct {
		check       string
		err         error
		wantChanged bool
		wantStatus  int
		wantBody    string
	}{
		{"view", nil, true, 503, "[-] redirect: starting\n[+] view\n"},
		{"redirect", errors.New("no CAP_NET_ADMIN"), true, 503, "[-] redirect: no CAP_NET_ADMIN\n[+] view\n"},
		{"redirect", errors.New("no CAP_NET_ADMIN"), false, 503, "[-] redirect: no CAP_NET_ADMIN\n[+] view\n"},
		{"redirect", nil, true, 200, "[+] redirect\n[+] view\n"},
	}
	for _, s := range steps {
		if changed := h.Set(s.check, s.err); changed != s.wantChanged {
			t.Errorf("Set(%s, %v) = %t, want %t", s.check, s.err, changed, s.wantChanged)
		}
		if status, body := get("/readyz"); status != s.wantStatus || body != s.wantBody {
			t.Errorf("/readyz is %d %q, want %d %q", status, body, s.wantStatus, s.wantBody)
		}
		if status, _ := get("/healthz"); status != 200 {
			t.Errorf("/healthz is %d: a process that waits is alive", status)
		}
	}
}

func TestNewLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	var out bytes.Buffer
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}} {
		if _, _, err := telemetry.NewLogger(&out, bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("NewLogger(%v) = %v, want what to write instead", bad, err)
		}
	}
	l, level, err := telemetry.NewLogger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	l.Info("quiet")
	l.Warn("said", "k", "v")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"k":"v"`) {
		t.Errorf("logged %s", got)
	}
	level.Set(slog.LevelDebug)
	if l.Debug("now too"); !strings.Contains(out.String(), "now too") {
		t.Error("the level cannot be changed")
	}
}

func TestLogLevelIsSetFromTheNodeAlone(t *testing.T) {
	_, level, err := telemetry.NewLogger(io.Discard, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	telemetry.RegisterLevel(mux, level, slog.New(slog.DiscardHandler))
	put := func(from, name string) int {
		r := httptest.NewRequest(http.MethodPut, "/log-level", strings.NewReader(name))
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code
	}
	if got := put("10.224.4.10:1", "debug"); got != http.StatusForbidden || level.Level() != slog.LevelInfo {
		t.Errorf("a pod got %d, and the level is %s", got, level.Level())
	}
	if got := put("127.0.0.1:1", "loud"); got != http.StatusBadRequest {
		t.Errorf("an unknown level: %d", got)
	}
	if got := put("[::1]:1", "debug"); got != http.StatusOK || level.Level() != slog.LevelDebug {
		t.Errorf("the node got %d, and the level is %s", got, level.Level())
	}
}

func TestServeOnAUnixSocket(t *testing.T) {
	listen := "unix:" + filepath.Join(t.TempDir(), "health.sock")
	h := telemetry.NewHealth("view")
	mux := http.NewServeMux()
	h.Register(mux)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- telemetry.Serve(ctx, "health", listen, mux, slog.New(slog.DiscardHandler)) }()
	deadline := time.Now().Add(patience)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		status, body, err := telemetry.Ask(t.Context(), listen, http.MethodGet, "/readyz", "")
		if err == nil {
			if status != http.StatusServiceUnavailable || !strings.Contains(body, "[-] view: starting") {
				t.Errorf("answered %d %q", status, body)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestOlderServerLeavesTheSocketOfTheNewer has one server follow another on a
// socket, as agents do in an upgrade, with a client that never reads its answer.
func TestOlderServerLeavesTheSocketOfTheNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "health.sock")
	began := make(chan struct{}, 1)
	serve := func(name string) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		ended, said := make(chan error, 1), make(lines, 8)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				began <- struct{}{}
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, name)
		})
		go func() {
			ended <- telemetry.Serve(ctx, "health", "unix:"+path, h, slog.New(slog.NewTextHandler(said, nil)))
		}()
		<-said // it serves
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the %s one ended with %v", name, err)
			}
		}
	}
	stopOld := serve("old")
	slow, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-began
	stopNew := serve("new")
	stopOld()
	if _, who, err := telemetry.Ask(t.Context(), "unix:"+path, http.MethodGet, "/", ""); who != "new" {
		t.Errorf("when the old one has ended, %q answers (%v), want the new one", who, err)
	}
	stopNew()
}

// TestServeWaitsForItsPort starts on a port that somebody else still has.
func TestServeWaitsForItsPort(t *testing.T) {
	var lc net.ListenConfig
	other, err := lc.Listen(t.Context(), "tcp4", "127.83.12.9:0") // where nobody else looks for a free port
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	said := make(lines, 8)
	go func() {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ours")) })
		ended <- telemetry.Serve(ctx, "test", other.Addr().String(), h, slog.New(slog.NewTextHandler(said, nil)))
	}()
	if l := <-said; !strings.Contains(l, "address already in use") {
		t.Errorf("logged %s, want what stands in the way", l)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(patience)
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		resp, err := client.Get("http://" + other.Addr().String())
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			if _ = resp.Body.Close(); err != nil || string(body) != "ours" {
				t.Errorf("answered %q, %v", body, err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not served: %v", err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v", err)
	}
}

// lines is a log that a test reads line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
