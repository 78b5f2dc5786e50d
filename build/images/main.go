// Command images makes podid's container images without a daemon, a registry or
// a base image. Each image is a program of the module, linked statically, over
// nothing but certificates and two users. The same sources, version, time and Go
// give the same bytes.
//
// For each program it writes
//
//	NAME.oci.tar        an OCI layout with all platforms, for registries (skopeo, crane, oras)
//	NAME-ARCH.tar       an archive with its name, for ctr images import, docker load, podman load
//	NAME-ARCH.cdx.json  what is in it (CycloneDX), from what the linker wrote into the program
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	b := builder{root: ".", out: stdout}
	var archs string
	var created int64
	flags.StringVar(&b.dir, "o", "bin/images", "folder to write to")
	flags.StringVar(&b.version, "version", "devel", "version, which is the images' tag too")
	flags.StringVar(&b.revision, "revision", "", "commit that the sources are of")
	flags.StringVar(&b.repository, "repository", "podid-io", "what comes before /NAME in the images' names")
	flags.StringVar(&archs, "arch", "amd64,arm64", "processors")
	flags.Int64Var(&created, "created", 0, "time of the images, in seconds since 1970")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b.archs, b.created = strings.Split(archs, ","), time.Unix(created, 0).UTC()
	chosen := programs()
	if flags.NArg() > 0 {
		var err error
		if chosen, err = named(flags.Args()); err != nil {
			return err
		}
	}
	for _, p := range chosen {
		if err := b.image(ctx, p); err != nil {
			return fmt.Errorf("image of %s: %w", p.name, err)
		}
	}
	return nil
}
