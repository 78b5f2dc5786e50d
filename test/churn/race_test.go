//go:build race

package churn_test

// raced says that the race detector watches, which makes everything slow.
const raced = true
