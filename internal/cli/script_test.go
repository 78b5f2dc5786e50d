package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/internal/cli"
	"github.com/podid-io/podid/test/localcluster"
)

// plane is the API server that the scripts share; each has namespaces and nodes of
// its own.
var plane *localcluster.ControlPlane

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	testscript.Main(withControlPlane{m}, map[string]func(){"podid": podid, "kubectl-podid": podid})
}

// podid is the program, with a file in place of the agents: there is no kubelet to
// run anything in a pod by.
func podid() {
	err := run()
	if code, ok := errors.AsType[cli.ExitError](err); ok {
		os.Exit(int(code)) //nolint:forbidigo // this is a main
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "podid:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := cli.New(cli.Config{Name: os.Args[0], Getenv: os.Getenv, Ask: askFile})
	root.SetArgs(os.Args[1:])
	return root.ExecuteContext(ctx)
}

// askFile notes what a container is asked in the file "asked", and answers as an
// agent with the content of answer-NODE.json: without one it cannot be asked. Where
// it is to run a program that no agent is, what that prints is in said-PROGRAM, or
// it fails with what is in failed-PROGRAM, or there is none.
func askFile(_ context.Context, _ *rest.Config, pod *corev1.Pod, container string, argv []string) (string, error) {
	dir := os.Getenv("WORK")
	asked, err := os.OpenFile(filepath.Join(dir, "asked"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = asked.Close() }()
	_, _ = fmt.Fprintln(asked, pod.Name, container, strings.Join(argv, " "))
	if argv[0] == "curl" || argv[0] == "wget" {
		return runFile(dir, argv[0])
	}
	answer, err := os.ReadFile(filepath.Join(dir, "answer-"+pod.Spec.NodeName+".json"))
	if err != nil {
		return "", errors.New(`pods "` + pod.Name + `" is forbidden: User "somebody" cannot create resource "pods/exec"`)
	}
	return os.ExpandEnv(string(answer)), nil
}

// runFile is what comes of a program of a container.
func runFile(dir, program string) (string, error) {
	if said, err := os.ReadFile(filepath.Join(dir, "said-"+program)); err == nil {
		return string(said), nil
	}
	if failed, err := os.ReadFile(filepath.Join(dir, "failed-"+program)); err == nil {
		return "", errors.New(strings.TrimSpace(string(failed)))
	}
	return "", fmt.Errorf("OCI runtime exec failed: exec: %q: executable file not found in $PATH: unknown", program)
}

// withControlPlane runs tests with an API server.
type withControlPlane struct{ m *testing.M }

func (w withControlPlane) Run() int {
	return localcluster.WithControlPlane(&plane, "../../config/crd", w.m.Run)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			ns := strings.ReplaceAll(strings.TrimPrefix(filepath.Base(e.WorkDir), "script-"), "_", "-")
			e.Values["terminal"] = &terminal{}
			e.Setenv("NS", ns)
			e.Setenv("SYS", ns+"-sys")
			e.Setenv("KUBECONFIG", plane.Kubeconfig())
			if err := os.CopyFS(filepath.Join(e.WorkDir, "policy"), os.DirFS("../../config/policy")); err != nil {
				return err
			}
			for _, f := range []string{"base.yaml", "fine.json"} {
				text, err := os.ReadFile(filepath.Join("testdata", f))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(e.WorkDir, f), text, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"apply": apply, "delete": remove, "uid": uid, "exits": exits, "shows": shows, "expand": expand, "terminal": onTerminal,
		},
	})
}

// exits runs a program and asserts its status: exits 1 podid explain …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARG...]")
	}
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("ended with %d, want %d", got, want)
	}
}

// shows runs a program whose status others have a part in.
func shows(ts *testscript.TestScript, _ bool, args []string) {
	if _, failed := errors.AsType[*exec.ExitError](ts.Exec(args[0], args[1:]...)); failed {
		ts.Logf("[status not asserted]")
	}
}

// expand replaces variables in files.
func expand(ts *testscript.TestScript, _ bool, files []string) {
	for _, f := range files {
		text := os.Expand(ts.ReadFile(f), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(text), 0o600))
	}
}
