package legacy_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/podid-io/podid/internal/mic/legacy"
)

func TestWithoutALockNobodyLeads(t *testing.T) {
	said := make(chan error, 1)
	w, err := legacy.New(legacy.Config{
		REST: &rest.Config{Host: "http://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler),
		Report: func(err error) { said <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }() // ends with cancel
	if err := <-said; err != nil {
		t.Errorf("reported %v", err)
	}
	_, end, err := w.Await(ctx)
	if err != nil {
		t.Fatal(err)
	}
	end()
	cancel()
	if err := <-ended; err != nil {
		t.Error(errors.Join(errors.New("ended"), err))
	}
}
