package nmi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/identity"
)

// AuditMode says what becomes of audit lines.
type AuditMode string

const (
	// AuditBuffered writes lines behind the requests' backs and drops them, and
	// counts them, when the sink is too slow.
	AuditBuffered AuditMode = "buffered"
	// AuditSync writes each line before its request is answered; none is lost.
	AuditSync AuditMode = "sync"
	// AuditOff writes none.
	AuditOff AuditMode = "off"
)

const (
	// auditQueue bounds the lines that wait to be written.
	auditQueue = 4096
	// auditDelay is the longest that a line waits for others to be written with.
	auditDelay = 100 * time.Millisecond
)

// Audit writes one line of JSON for each token that is asked for: who asked,
// which identity it was, what came of it. Never the token: TokenDigest is the
// beginning of its SHA-256.
type Audit struct {
	mode    AuditMode
	metrics *Metrics
	queue   chan auditLine
	sink    io.Writer

	mu  sync.Mutex
	out *bufio.Writer // guarded by mu
	enc *json.Encoder // guarded by mu
}

// auditLine is the line as it is written.
type auditLine struct {
	Time           time.Time       `json:"time"`
	Outcome        outcome         `json:"outcome"`
	Reason         identity.Reason `json:"reason,omitempty"`
	Namespace      string          `json:"namespace,omitempty"`
	Pod            string          `json:"pod,omitempty"`
	PodUID         string          `json:"podUID,omitempty"`
	ServiceAccount string          `json:"serviceAccount,omitempty"`
	IdentityNS     string          `json:"identityNamespace,omitempty"`
	Identity       string          `json:"identity,omitempty"`
	ClientID       string          `json:"clientID,omitempty"`
	Resource       string          `json:"resource"`
	TokenDigest    string          `json:"tokenDigest,omitempty"`
	Error          string          `json:"error,omitempty"`
}

// NewAudit makes the sink. It fails for an unknown mode.
func NewAudit(mode AuditMode, w io.Writer, m *Metrics) (*Audit, error) {
	switch mode {
	case AuditBuffered, AuditSync, AuditOff:
	default:
		return nil, fmt.Errorf("audit mode %q is unknown: use buffered, sync or off", mode)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	return &Audit{mode: mode, metrics: m, queue: make(chan auditLine, auditQueue), sink: w, out: out, enc: json.NewEncoder(out)}, nil
}

// record writes the line of one request, or queues it.
func (a *Audit) record(resource string, ans *answer, at time.Time) {
	if a.mode == AuditOff {
		return
	}
	l := auditLine{
		Time: at, Outcome: ans.outcome, Reason: ans.reason,
		Namespace: ans.pod.Namespace, Pod: ans.pod.Name, PodUID: ans.pod.UID, ServiceAccount: ans.pod.ServiceAccount,
		IdentityNS: ans.identity.Namespace, Identity: ans.identity.Name, ClientID: ans.identity.ClientID,
		Resource: resource, TokenDigest: ans.token.Digest,
	}
	if ans.err != nil {
		l.Error = ans.err.Error()
	}
	if a.mode == AuditSync {
		a.count(errors.Join(a.write(&l), a.flush()))
		return
	}
	select {
	case a.queue <- l:
	default:
		a.metrics.dropped.Inc()
	}
}

// Run writes queued lines until ctx ends, and then what is left.
func (a *Audit) Run(ctx context.Context) error {
	var l auditLine
	due := time.NewTimer(time.Hour)
	due.Stop()
	pending := false
	for {
		select {
		case l = <-a.queue:
			a.count(a.write(&l))
			if !pending {
				due.Reset(auditDelay)
				pending = true
			}
		case <-due.C:
			a.count(a.flush())
			pending = false
		case <-ctx.Done():
			for len(a.queue) > 0 {
				l = <-a.queue
				a.count(a.write(&l))
			}
			return a.flush()
		}
	}
}

func (a *Audit) count(err error) {
	if err != nil {
		a.metrics.dropped.Inc()
	}
}

func (a *Audit) write(l *auditLine) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.restart(a.enc.Encode(l))
}

func (a *Audit) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.restart(a.out.Flush())
}

// restart forgets an error of the sink, which a bufio.Writer would return for
// ever, together with the lines that it cost. a.mu is held.
func (a *Audit) restart(err error) error {
	if err != nil {
		a.out.Reset(a.sink)
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}
