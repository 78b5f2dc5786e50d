package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/podid-io/podid/internal/azemu"
)

// directory are commands about applications in Entra ID.
func directory() map[string]form {
	return map[string]form{
		"ad app create":           {need: "--display-name", do: appCreate},
		"ad sp create":            {need: "--id", do: appShow},
		"ad sp show":              {need: "--id", do: appShow},
		"ad app credential reset": {need: "--id", may: "--years --display-name --end-date", bare: "--append", do: credentialReset},
	}
}

// appCreate makes an application, whose ids follow from its name.
func appCreate(ctx context.Context, w world, a arguments) (any, error) {
	id := uuid.NewSHA1(uuid.NameSpaceDNS, []byte(a.flags["--display-name"])).String()
	if err := w.azure().MergeState(ctx, azemu.State{Apps: []azemu.App{{ClientID: id}}}); err != nil {
		return nil, err
	}
	return map[string]any{"appId": id, "displayName": a.flags["--display-name"]}, nil
}

func (w world) app(ctx context.Context, id string) (azemu.App, error) {
	s, err := w.azure().State(ctx)
	if err != nil {
		return azemu.App{}, err
	}
	for _, app := range s.Apps {
		if strings.EqualFold(app.ClientID, id) {
			return app, nil
		}
	}
	return azemu.App{}, fmt.Errorf("there is no application %s", id)
}

func appShow(ctx context.Context, w world, a arguments) (any, error) {
	app, err := w.app(ctx, a.flags["--id"])
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": app.ObjectID, "appId": app.ClientID}, nil
}

// credentialReset makes a secret. Without --append those that there are end at
// once, and nobody says so: where the page has made one, whoever runs by it is
// locked out.
func credentialReset(ctx context.Context, w world, a arguments) (any, error) {
	app, err := w.app(ctx, a.flags["--id"])
	if err != nil {
		return nil, err
	}
	noted := "secrets-" + app.ClientID // the emulator never shows them
	if len(w.notes(noted)) > 0 && a.flags["--append"] == "" {
		return nil, errors.New("the secret that the application has ends at once without --append")
	}
	secret := rand.Text()
	if err := w.note(noted, secret); err != nil {
		return nil, err
	}
	app.Secrets = w.notes(noted)
	if err := w.azure().MergeState(ctx, azemu.State{Apps: []azemu.App{app}}); err != nil {
		return nil, err
	}
	return map[string]any{"appId": app.ClientID, "password": secret}, nil
}
