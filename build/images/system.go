package main

import (
	"bytes"
	"encoding/pem"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// system are the files that a program finds beside itself: the certificates that
// Azure is trusted by, and names for the users. The certificates are Mozilla's,
// as Go ships them in a module: so go.sum pins them, go get brings them up to
// date, and no image depends on the machine that it was built on. They are a
// file, and not linked in, so that an operator can mount others over it. Those
// that Mozilla trusts only for what was issued before a certain day are left out,
// since a file cannot say that.
func system() ([]file, error) {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	return []file{
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n")},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots.Bytes()},
	}, nil
}
