package nmi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// AuditMode says what becomes of audit lines.
type AuditMode string

const (
	// AuditBuffered writes lines behind the requests' backs and drops them, and
	// counts them, when the sink is too slow.
	AuditBuffered AuditMode = "buffered"
	// AuditSync writes each line before its request is answered; without its line
	// no token is handed out.
	AuditSync AuditMode = "sync"
	// AuditOff writes none.
	AuditOff AuditMode = "off"
)

const (
	// auditQueue bounds the lines that wait to be written, auditBatch is when
	// they wait no longer.
	auditQueue = 8192
	auditBatch = 1024
	// auditDelay is the longest that a line waits for others to be written with:
	// to wake the writer for each would cost more than all the rest.
	auditDelay = 100 * time.Millisecond
)

// Audit writes one line of JSON for each token that is asked for: who asked,
// which identity it was, what came of it. Never the token: TokenDigest is the
// beginning of its SHA-256.
type Audit struct {
	mode    AuditMode
	metrics *Metrics
	sink    io.Writer
	due     *time.Timer   // fires when the first line has waited long enough
	full    chan struct{} // tells Run that there is a batch

	mu      sync.Mutex
	waiting []auditLine   // guarded by mu
	out     *bufio.Writer // guarded by writing
	line    []byte        // room for one; guarded by writing
	writing sync.Mutex
}

// NewAudit makes the sink. It fails for an unknown mode.
func NewAudit(mode AuditMode, w io.Writer, m *Metrics) (*Audit, error) {
	switch mode {
	case AuditBuffered, AuditSync, AuditOff:
	default:
		return nil, fmt.Errorf("audit mode %q is unknown: use buffered, sync or off", mode)
	}
	due := time.NewTimer(auditDelay)
	due.Stop()
	return &Audit{
		mode: mode, metrics: m, sink: w, due: due, full: make(chan struct{}, 1),
		out: bufio.NewWriterSize(w, 64<<10),
	}, nil
}

// record writes the line of one request, or queues it. It fails only where the
// line had to be written and was not.
func (a *Audit) record(resource string, ans *answer, at time.Time) error {
	if a.mode == AuditOff {
		return nil
	}
	l := auditLine{
		Time: at, Outcome: ans.outcome, Reason: ans.reason,
		Namespace: ans.pod.Namespace, Pod: ans.pod.Name, PodUID: ans.pod.UID, ServiceAccount: ans.pod.ServiceAccount,
		IdentityNS: ans.identity.Namespace, Identity: ans.identity.Name, ClientID: ans.identity.ClientID,
		Source: ans.source, Resource: resource, TokenDigest: ans.token.Digest, OnHost: ans.onHost,
	}
	if ans.err != nil {
		l.Error = ans.err.Error()
	}
	if a.mode == AuditSync {
		return a.write([]auditLine{l})
	}
	room := auditQueue
	if ans.err != nil {
		room /= 2
	}
	a.queue(&l, room)
	return nil
}

// queue leaves a line for Run to write, unless room lines wait already: there is
// less room for refusals, so that whoever makes many of them does not take the
// place of tokens that were handed out.
func (a *Audit) queue(l *auditLine, room int) {
	a.mu.Lock()
	n := len(a.waiting)
	if n < room {
		a.waiting = append(a.waiting, *l)
	}
	a.mu.Unlock()
	switch {
	case n >= room:
		a.metrics.dropped.Inc()
	case n == 0:
		a.due.Reset(auditDelay)
	case n == auditBatch:
		select {
		case a.full <- struct{}{}:
		default: // told already
		}
	}
}

// Run writes queued lines until ctx ends, and then what is left: end it when the
// last request has been answered.
func (a *Audit) Run(ctx context.Context) {
	var lines, spare []auditLine
	for ended := false; !ended; {
		select {
		case <-a.due.C:
		case <-a.full:
		case <-ctx.Done():
			ended = true
		}
		a.mu.Lock()
		lines, a.waiting = a.waiting, spare[:0]
		a.mu.Unlock()
		_ = a.write(lines) // counted
		clear(lines)       // keep no strings
		spare = lines
	}
}

// write writes lines. What is lost when the sink fails is counted.
func (a *Audit) write(lines []auditLine) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	for i := range lines {
		a.line = lines[i].append(a.line[:0])
		_, _ = a.out.Write(a.line) // Flush returns its error
	}
	err := a.out.Flush()
	if err != nil {
		a.metrics.dropped.Add(float64(len(lines))) // some may have been written
		a.out.Reset(a.sink)                        // or it returns the error for ever
	}
	return err
}
