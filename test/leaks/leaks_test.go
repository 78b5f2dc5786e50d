package leaks

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestWhatATestBeginsIsItsOwn(t *testing.T) {
	ours, before := goleak.IgnoreCurrent(), goroutines()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); <-end }()
	err := goleak.Find(ours)
	if err == nil {
		t.Fatal("nothing was found")
	}
	if allOf(before, err.Error()) {
		t.Error("it was taken for one of others")
	}
	if all := goroutines(); !allOf(map[string]bool{idOf(t, err.Error()): true}, err.Error()) || len(all) == 0 {
		t.Errorf("who began it is not known: %v", err)
	}
	close(end)
	<-ended
}

// idOf is who began the first goroutine of a report.
func idOf(t *testing.T, report string) string {
	t.Helper()
	m := creator.FindStringSubmatch(report)
	if m == nil {
		t.Fatalf("nobody began %s", report)
	}
	return m[1]
}

func TestWhatEndsLateIsAwaited(t *testing.T) {
	left := Mark()
	end := make(chan struct{})
	go func() { <-end }()
	time.AfterFunc(3*time.Second, func() { close(end) }) // goleak alone waits for a second
	if err := left(); err != nil {
		t.Error(err)
	}
}

func TestWhatOthersBeginIsTheirs(t *testing.T) {
	begin, end := make(chan struct{}), make(chan struct{})
	begun := make(chan struct{})
	go func() { // is there before
		<-begin
		go func() { <-end }()
		close(begun)
		<-end
	}()
	left := Mark()
	close(begin)
	<-begun
	if err := left(); err != nil {
		t.Error(err)
	}
	close(end)
}

func TestWhatATimerBeginsIsNobodys(t *testing.T) {
	ours, before := goleak.IgnoreCurrent(), goroutines()
	begin, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	fired := make(chan struct{})
	time.AfterFunc(0, func() { defer close(ended); close(fired); <-end })
	go func() { defer close(begin); <-end }()
	<-fired
	err := goleak.Find(ours)
	if err == nil {
		t.Fatal("nothing was found")
	}
	before[idOf(t, err.Error())] = true // who began the other one
	if allOf(before, err.Error()) {
		t.Errorf("a timer's is taken for one of others: %v", err)
	}
	close(end)
	<-ended
	<-begin
}
