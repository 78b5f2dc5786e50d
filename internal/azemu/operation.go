package azemu

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// operation is a long-running operation: an identity PATCH on its way to the
// machines.
//
//	InProgress -- delay over --> Succeeded: IMDS knows the goal
//	           -- delay over, fault on operation.end --> Failed: IMDS knows what was carried out
//	           -- delay over, identity deleted meanwhile --> Failed
//	           -- Close, SetState --> Canceled
type operation struct {
	id, status string
	on         armID
	location   string
	start, end time.Time
	failure    *armErrorDetail
	timer      *time.Timer // nil for one that was done at once

	changes
	carried int      // how many changes one that fails carries out; -1 for all
	missing []string // keys of identities to be attached that were deleted since
	foreign bool     // somebody else's: see Edit
	refusal string   // code for who writes meanwhile; empty means Conflict
	deletes bool     // the scope is no more when it ends
}

// changes are the keys of the identities that a write attaches and detaches, sorted.
type changes struct{ attach, detach []string }

// changes are those between what s has, or may have, and next, which is to attach added.
func (s *scope) changes(next assignment, added []armID) (c changes) {
	for _, id := range added {
		c.attach = append(c.attach, id.key())
	}
	for _, has := range []assignment{s.goal, s.seen} {
		for key := range has.user {
			if _, stays := next.user[key]; !stays && !slices.Contains(c.detach, key) {
				c.detach = append(c.detach, key)
			}
		}
	}
	slices.Sort(c.attach)
	slices.Sort(c.detach)
	return c
}

const (
	inProgress = "InProgress"
	succeeded  = "Succeeded"
	failed     = "Failed"
	canceled   = "Canceled"
)

// newOperation makes one that has not begun.
func newOperation(s *scope, now time.Time) *operation {
	return &operation{id: uuid.NewString(), status: inProgress, on: s.id, location: s.location, start: now}
}

// startOperation begins to bring s to its new goal, on its machines too. The
// caller holds mu.
func (e *Emulator) startOperation(s *scope, goal assignment, c changes, now time.Time) *operation {
	op := newOperation(s, now)
	op.changes = c
	delay := e.config.ARMDelay
	if f, ok := e.faults.take(EndpointOperationEnd, func() asked { return asked{s.id.key(), c} }); ok {
		delay = max(delay, time.Duration(f.Delay))
		op.fail(f)
	}
	s.goal = goal
	s.etag++
	e.begin(s, op, delay, now)
	return op
}

// begin has op run. The caller holds mu.
func (e *Emulator) begin(s *scope, op *operation, delay time.Duration, now time.Time) {
	e.cloud.forgetOperations(now)
	e.cloud.operations[op.id] = op
	s.running, s.provisioning = op.id, "Updating"
	if op.deletes {
		s.provisioning = "Deleting"
	}
	e.traffic.count(s.id.key(), func(c *ScopeCounter) {
		if op.foreign {
			c.Edits++
		} else {
			c.Accepted++
		}
	})
	if delay <= 0 {
		e.endOperation(op, now)
		return
	}
	op.timer = time.AfterFunc(delay, func() { // ends by itself; Close and SetState stop it
		e.mu.Lock()
		defer e.mu.Unlock()
		e.endOperation(op, time.Now())
	})
}

// remembered is how long after its end one can ask how an operation ended.
const remembered = time.Hour

// forgetOperations forgets, now and then, those that nobody will ask about. The
// caller holds mu.
func (c *cloud) forgetOperations(now time.Time) {
	if now.Before(c.forgetAt) {
		return
	}
	c.forgetAt = now.Add(remembered / 10)
	maps.DeleteFunc(c.operations, func(_ string, op *operation) bool {
		return op.status != inProgress && now.Sub(op.end) > remembered
	})
}

// endOperation makes IMDS know the goal, unless op failed or is over. The
// caller holds mu.
func (e *Emulator) endOperation(op *operation, now time.Time) {
	if op.status != inProgress {
		return
	}
	op.status, op.end = succeeded, now
	if len(op.missing) > 0 {
		op.failMissing()
	}
	if op.failure != nil {
		op.status = failed
	}
	s, ok := e.cloud.scopes[op.on.key()]
	if !ok || s.running != op.id {
		return
	}
	s.running, s.provisioning = "", op.status
	s.take(op)
	endpoint := EndpointOperationEnd
	if op.foreign {
		endpoint = EndpointEdit
	} else {
		e.traffic.count(s.id.key(), func(c *ScopeCounter) { c.Operations[op.status]++ })
	}
	if op.deletes {
		delete(e.cloud.scopes, op.on.key())
		e.cloud.deleted[op.on.key()]++
	}
	e.traffic.note(Event{Time: now, Endpoint: endpoint, Path: op.on.String(), Duration: Duration(now.Sub(op.start)), Outcome: op.status})
}

// cancelOperations stops what is in flight. The caller holds mu.
func (c *cloud) cancelOperations(now time.Time) {
	for _, op := range c.operations {
		if op.status != inProgress {
			continue
		}
		op.timer.Stop()
		op.status, op.end = canceled, now
		if s, ok := c.scopes[op.on.key()]; ok && s.running == op.id {
			s.running, s.provisioning = "", canceled
		}
	}
}

// operationBody is the answer of the operations endpoint.
type operationBody struct {
	StartTime time.Time       `json:"startTime"`
	EndTime   *time.Time      `json:"endTime,omitempty"`
	Status    string          `json:"status"`
	Name      string          `json:"name"`
	Error     *armErrorDetail `json:"error,omitempty"`
}

// getOperation answers with the state of an operation or, for the URL of the
// header Location, 202 until there is a resource to show.
func (e *Emulator) getOperation(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	op, ok := e.cloud.operations[c.operation]
	if !ok {
		return armReply{}, &armError{http.StatusNotFound, "NotFound", "The operation '" + c.operation + "' was not found."}
	}
	header := http.Header{}
	if op.status == inProgress {
		header.Set("Retry-After", e.retryAfter())
	}
	if c.r.URL.Query().Get("monitor") == "true" {
		return e.monitorOperation(c, op, header)
	}
	body := operationBody{StartTime: op.start.UTC(), Status: op.status, Name: op.id}
	if op.status != inProgress {
		end := op.end.UTC()
		body.EndTime = &end
	}
	if op.status == failed {
		body.Error = op.failure
	}
	return armReply{status: http.StatusOK, header: header, body: body}, nil
}

// monitorOperation answers in the older way, which knows no status: 202 until
// the resource is there. The caller holds mu.
func (e *Emulator) monitorOperation(c *armCall, op *operation, header http.Header) (armReply, error) {
	s, ok := e.cloud.scopes[op.on.key()]
	switch {
	case op.status == inProgress:
		header.Set("Location", operationURL(c.r, op)+"&monitor=true")
		return armReply{status: http.StatusAccepted, header: header}, nil
	case op.status == failed:
		return armReply{}, &armError{http.StatusConflict, op.failure.Code, op.failure.Message}
	case op.status == canceled || !ok:
		return armReply{}, &armError{http.StatusConflict, "OperationNotAllowed", "The operation '" + op.id + "' was canceled."}
	default:
		return armReply{status: http.StatusOK, body: e.cloud.describe(s)}, nil
	}
}

// operationURL is where the state of op can be read, on the host that the
// caller used.
func operationURL(r *http.Request, op *operation) string {
	return fmt.Sprintf("https://%s/subscriptions/%s/providers/Microsoft.Compute/locations/%s/operations/%s?api-version=%s",
		r.Host, op.on.subscription, op.location, op.id, url.QueryEscape(r.URL.Query().Get("api-version")))
}

// retryAfter is the header Retry-After: whole seconds, rounded up.
func (e *Emulator) retryAfter() string { return seconds(e.config.RetryAfter) }

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
