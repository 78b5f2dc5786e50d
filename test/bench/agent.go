package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// agent is an nmi under measurement.
type agent struct {
	cmd     *exec.Cmd
	listen  string
	metrics string
}

// startAgent starts nmi for a node and returns when it is ready. What redirects
// is loopback itself: clients have the addresses of pods.
func (r *rig) startAgent(ctx context.Context, node string) (*agent, error) {
	var addrs [3]string
	for i := range addrs {
		var err error
		if addrs[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	a := &agent{listen: addrs[0], metrics: "http://" + addrs[1] + "/metrics"}
	var err error
	a.cmd, err = r.run("nmi", nil,
		"--node", node, "--kubeconfig", r.control.Kubeconfig(),
		"--redirect", "none", "--listen", addrs[0], "--metrics-listen", addrs[1], "--health-listen", addrs[2],
		"--imds-endpoint", r.ready.Machines[machine],
		"--audit-file", filepath.Join(r.dir, "audit-"+node+".jsonl"),
	)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, 20*time.Second, func() error { _, err := fetch(ctx, "http://"+addrs[2]+"/readyz"); return err }); err != nil {
		return nil, fmt.Errorf("nmi for %s: %w", node, err)
	}
	return a, nil
}

// fetch gets a page.
func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d: %s", url, resp.StatusCode, b)
	}
	return string(b), err
}

// metric reads one sample, by name and labels as they are printed.
func metric(ctx context.Context, url, name string) (float64, error) {
	page, err := fetch(ctx, url)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", url, name)
}

// cpu is the processor time that a program has used.
func cpu(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil // USER_HZ is 100
}

// residentMiB is VmRSS of a program.
func residentMiB(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}
