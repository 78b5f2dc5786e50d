package main

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// What the clock of a process says while it runs is what the kernel says of it in
// the end, but for what it did to end.
func TestCPU(t *testing.T) {
	if os.Getenv("BENCH_TEST_BUSY") != "" {
		for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
			continue
		}
		_, _ = os.Stdout.WriteString("done\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test has looked
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestCPU$")
	cmd.Env = append(os.Environ(), "BENCH_TEST_BUSY=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	got, err := cpu(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	whole := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if got <= 0 || got > whole+10*time.Millisecond || whole-got > 100*time.Millisecond {
		t.Errorf("cpu() = %s, and the process used %s in all", got, whole)
	}
}
