// Package exit says with which status a command of podid ends.
package exit

import "fmt"

// Error is a status to exit with, when everything has been said already.
type Error int

func (e Error) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
