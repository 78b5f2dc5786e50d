package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"path"
	"strings"
	"time"
)

// file is one file of a layer, with its folders made as needed.
type file struct {
	name    string
	mode    int64
	content []byte
}

// pack makes a layer, as it is and compressed. Owner and time are always the
// same.
func pack(files []file, at time.Time) (plain, compressed []byte, err error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	made := map[string]bool{}
	for _, f := range files {
		for _, dir := range folders(f.name) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: at, Format: tar.FormatUSTAR}); err != nil {
				return nil, nil, err
			}
		}
		if err := entry(archive, f, at); err != nil {
			return nil, nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, nil, err
	}
	var small bytes.Buffer
	zip := gzip.NewWriter(&small)
	if _, err := zip.Write(buffer.Bytes()); err != nil {
		return nil, nil, err
	}
	err = zip.Close()
	return buffer.Bytes(), small.Bytes(), err
}

// entry writes a file to an archive.
func entry(archive *tar.Writer, f file, at time.Time) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: at, Format: tar.FormatUSTAR}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(f.content)
	return err
}

// folders are the folders above name, the outermost first.
func folders(name string) []string {
	var above []string
	parts := strings.Split(path.Dir(name), "/")
	for i := range parts {
		if dir := path.Join(parts[:i+1]...); dir != "." {
			above = append(above, dir)
		}
	}
	return above
}
