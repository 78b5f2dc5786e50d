package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/localcluster"
)

// limitedDelay is how long the limited metadata service takes for a token.
const limitedDelay = 100 * time.Millisecond

// limited is an emulator whose metadata service enforces its limits, 20 requests
// a second and 5 at once, and takes its time.
type limited struct {
	cmd   *localcluster.Command
	azure *azemu.Client
	imds  string // of the one machine
}

// startLimited starts one more emulator, with a name for its files. Flags are added.
func (r *rig) startLimited(ctx context.Context, name string, flags ...string) (*limited, error) {
	var ready azemu.Ready
	readyFile, own := filepath.Join(r.dir, "azemu-"+name+".json"), r.node.Addr.String()
	cmd, err := r.run(ctx, "azemu", nil, append([]string{
		"--listen", own + ":0", "--admin-listen", own + ":0", "--imds-machine", machine + "=" + own + ":0",
		"--host", own, "--state", filepath.Join(r.dir, "state.json"), "--imds-limits", "--ready-file", readyFile,
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	l := &limited{cmd: cmd}
	err = await(ctx, 10*time.Second, func() error {
		b, err := os.ReadFile(readyFile)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &ready)
	})
	if err == nil {
		l.azure, l.imds = azemu.NewClient(ready.Admin), ready.Machines[machine]
		err = l.azure.SetFault(ctx, azemu.EndpointIMDSToken, azemu.Fault{Delay: azemu.Duration(limitedDelay)})
	}
	if err == nil && l.imds == "" {
		err = errors.New("the emulator does not say where its metadata service is")
	}
	if err != nil {
		r.end(cmd)
		return nil, err
	}
	return l, nil
}
