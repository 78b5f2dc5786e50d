package legacy

import (
	"encoding/json"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	// longestSkew is how far the clock of another machine can be off. Only a lock
	// that is older than that by its own account is not waited for: one that is
	// younger has to be seen to stand still.
	longestSkew = 10 * time.Minute
	// delay is how late a renewal may show.
	delay = 5 * time.Second
	// A lock counts for as long as it says, within reason, after its last renewal.
	usualDuration   = 15 * time.Second
	longestDuration = 10 * time.Minute
)

// observation is what has been seen of one lock.
type observation struct {
	seen   bool
	record string    // as it was last
	holder string    // empty for nobody
	until  time.Time // when it ends to count, by our own clock
}

// see takes up what the lock says at a time: the record of an election in JSON,
// empty where there is none.
func (o *observation) see(record string, now time.Time) {
	if o.seen && record == o.record {
		return
	}
	first := !o.seen
	o.seen, o.record, o.holder, o.until = true, record, "", time.Time{}
	if record == "" {
		return
	}
	var r resourcelock.LeaderElectionRecord
	duration := usualDuration
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		r = resourcelock.LeaderElectionRecord{HolderIdentity: "unknown"} // who changes it is there, whatever he writes
	} else if r.LeaseDurationSeconds > 0 {
		duration = min(time.Duration(r.LeaseDurationSeconds)*time.Second, longestDuration)
	}
	if r.HolderIdentity == "" {
		return // given back
	}
	if first && !r.RenewTime.IsZero() && r.RenewTime.Time.Before(now.Add(-duration-longestSkew)) {
		return
	}
	o.holder, o.until = r.HolderIdentity, now.Add(duration+delay)
}

// leads reports whether somebody holds the lock and renews it.
func (o *observation) leads(now time.Time) bool { return now.Before(o.until) }
