package redirect

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is when the node booted, by its own wall clock as it is now: the time
// that it has run, suspended or not, taken off the time of day.
func BootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fmt.Errorf("ask how long the node has been up: %w", err)
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
