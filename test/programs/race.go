//go:build race

package programs

// Raced says that the race detector watches, which makes everything slow.
const Raced = true
