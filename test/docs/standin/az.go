package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/podid-io/podid/internal/azemu"
)

const (
	groupAndName = "-g|--resource-group -n|--name"
	where        = "-l|--location"
)

// farAway are commands that only a real Azure carries out.
func farAway() map[string]form {
	return map[string]form{
		"login":               {may: "-t|--tenant", bare: "--identity --use-device-code", far: true},
		"group create":        {need: "-n|--name " + where, far: true},
		"group delete":        {need: "-n|--name", bare: "--yes --no-wait", far: true},
		"acr create":          {need: groupAndName + " --sku", may: where, far: true},
		"acr login":           {need: "-n|--name", bare: "--expose-token", far: true, do: registryToken},
		"aks create":          {need: groupAndName, may: where + " --node-count|-c --network-plugin --network-plugin-mode --attach-acr --vm-set-type", bare: "--generate-ssh-keys --enable-oidc-issuer", far: true},
		"aks update":          {need: groupAndName + " --node-init-taints", far: true},
		"extension add":       {need: "-n|--name", far: true},
		"feature register":    {need: "-n|--name --namespace", far: true},
		"provider register":   {need: "-n|--namespace", far: true},
		"aks get-credentials": {need: groupAndName, bare: "--overwrite-existing", far: true},
	}
}

// managed are commands about machines and managed identities.
func managed() map[string]form {
	return map[string]form{
		"aks show":        {need: groupAndName, do: aksShow},
		"account show":    {do: accountShow},
		"identity create": {need: groupAndName, may: where, do: identityCreate},
		"identity show":   {may: groupAndName + " --ids", do: identityShow},
		"identity federated-credential create": {
			need: "-g|--resource-group --identity-name -n|--name --issuer --subject", may: "--audiences", do: federate,
		},
		"vmss list":            {may: "-g|--resource-group", do: vmssList},
		"vmss identity assign": {need: groupAndName + " --identities", do: vmssIdentity(true)},
		"vmss identity remove": {need: groupAndName + " --identities", do: vmssIdentity(false)},
	}
}

func registryToken(context.Context, world, arguments) (any, error) {
	return map[string]any{"accessToken": "none"}, nil
}

func (w world) azure() *azemu.Client { return azemu.NewClient(w.getenv("DOCS_AZURE")) }

// scaleSet is the ARM id of that of the nodes.
func (w world) scaleSet() string { return w.getenv("DOCS_SCALE_SET") }

func (w world) subscription() string { return strings.Split(w.scaleSet(), "/")[2] }

func aksShow(_ context.Context, w world, a arguments) (any, error) {
	return map[string]any{
		"name": a.flags["-n"], "nodeResourceGroup": strings.Split(w.scaleSet(), "/")[4],
		"oidcIssuerProfile": map[string]any{"issuerUrl": w.getenv("DOCS_ISSUER")},
		"identityProfile":   map[string]any{"kubeletidentity": map[string]any{"clientId": "99999999-9999-9999-9999-999999999999"}},
		"networkProfile":    map[string]any{"networkPlugin": "azure", "networkPluginMode": "overlay"},
	}, nil
}

func accountShow(ctx context.Context, w world, _ arguments) (any, error) {
	s, err := w.azure().State(ctx)
	return map[string]any{"tenantId": s.Tenant, "id": w.subscription()}, err
}

func (w world) identityID(a arguments, nameFlag string) string {
	return "/subscriptions/" + w.subscription() + "/resourceGroups/" + a.flags["-g"] +
		"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + a.flags[nameFlag]
}

func (w world) identity(ctx context.Context, id string) (azemu.Identity, error) {
	s, err := w.azure().State(ctx)
	if err != nil {
		return azemu.Identity{}, err
	}
	for _, i := range s.Identities {
		if strings.EqualFold(i.ID, id) {
			return i, nil
		}
	}
	return azemu.Identity{}, fmt.Errorf("there is no identity %s", id)
}

func shown(i azemu.Identity, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": i.ID, "clientId": i.ClientID, "principalId": i.PrincipalID, "name": i.ID[strings.LastIndex(i.ID, "/")+1:]}, nil
}

func identityCreate(ctx context.Context, w world, a arguments) (any, error) {
	id := w.identityID(a, "-n")
	if i, err := w.identity(ctx, id); err == nil {
		return shown(i, nil) // it stays as it is
	}
	if err := w.azure().MergeState(ctx, azemu.State{Identities: []azemu.Identity{{ID: id}}}); err != nil {
		return nil, err
	}
	return shown(w.identity(ctx, id))
}

func identityShow(ctx context.Context, w world, a arguments) (any, error) {
	id := a.flags["--ids"]
	if id == "" && (a.flags["-g"] == "" || a.flags["-n"] == "") {
		return nil, errors.New("it takes --ids, or a group and a name")
	}
	if id == "" {
		id = w.identityID(a, "-n")
	}
	return shown(w.identity(ctx, id))
}

func federate(ctx context.Context, w world, a arguments) (any, error) {
	i, err := w.identity(ctx, w.identityID(a, "--identity-name"))
	if err != nil {
		return nil, err
	}
	c := azemu.FederatedCredential{Issuer: a.flags["--issuer"], Subject: a.flags["--subject"]}
	if audience := a.flags["--audiences"]; audience != "" {
		c.Audiences = []string{audience}
	}
	i.FederatedCredentials = append(i.FederatedCredentials, c)
	return nil, w.azure().MergeState(ctx, azemu.State{Identities: []azemu.Identity{i}})
}

func vmssList(ctx context.Context, w world, a arguments) (any, error) {
	s, err := w.azure().State(ctx)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, set := range s.ScaleSets {
		p := strings.Split(set.ID, "/")
		if group := a.flags["-g"]; group == "" || strings.EqualFold(group, p[4]) {
			list = append(list, map[string]any{"id": set.ID, "name": p[len(p)-1], "orchestrationMode": set.OrchestrationMode})
		}
	}
	return list, nil
}

// vmssIdentity puts identities on a scale set, or takes them off.
func vmssIdentity(attach bool) func(context.Context, world, arguments) (any, error) {
	return func(ctx context.Context, w world, a arguments) (any, error) {
		x := azemu.Edit{Scope: "/subscriptions/" + w.subscription() + "/resourceGroups/" + a.flags["-g"] +
			"/providers/Microsoft.Compute/virtualMachineScaleSets/" + a.flags["-n"]}
		ids := strings.Fields(a.flags["--identities"])
		if x.Attach = ids; !attach {
			x.Attach, x.Detach = nil, ids
		}
		return nil, w.azure().Edit(ctx, x)
	}
}
