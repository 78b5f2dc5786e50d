package netns_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// audit reads what an agent writes down of its answers, which it does before it
// gives them.
type audit struct {
	file string
	read int64 // how far
}

type auditLine struct {
	PodUID      string `json:"podUID"`
	TokenDigest string `json:"tokenDigest"`
}

// next are the lines that have come since it was called last.
func (a *audit) next() ([]auditLine, error) {
	f, err := os.Open(a.file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	if _, err := f.Seek(a.read, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // whole lines
	a.read += int64(len(text))
	var lines []auditLine
	for line := range bytes.Lines(text) {
		var l auditLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// ownerOf is the uid of the pod that a token was last given to, by the lines that
// have come; empty where no line has the token.
func (a *audit) ownerOf(digest string) (string, error) {
	lines, err := a.next()
	if err != nil {
		return "", err
	}
	owner := ""
	for _, l := range lines {
		if l.TokenDigest != "" && strings.HasPrefix(digest, l.TokenDigest) {
			owner = l.PodUID
		}
	}
	return owner, nil
}
