// Package chart holds the tests of charts/podid and deploy/. They render with
// helm as go.tools.mod pins it, and try what comes out on a real API server: it
// is stricter than any schema.
package chart
