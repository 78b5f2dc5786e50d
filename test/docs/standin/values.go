package main

import (
	"fmt"
	"regexp"
	"strings"
)

// Parts of values.
const (
	guid       = `[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`
	identityID = `/subscriptions/` + guid + `/resourceGroups/[^/ ]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/ ]+`
)

// valid is what the value of a flag is, by the flag's first name. What is not in it
// can be anything.
func valid() map[string]string {
	return map[string]string{
		"--sku":                 `Basic|Standard|Premium`,
		"--node-count":          `[1-9][0-9]*`,
		"--network-plugin":      `azure|kubenet|none`,
		"--network-plugin-mode": `overlay`,
		"--vm-set-type":         `VirtualMachineScaleSets|AvailabilitySet|VirtualMachines`,
		"-l":                    `[a-z0-9]+`,
		"-g":                    `[-\w.()]{1,90}`,
		"-o":                    `json|tsv|none`,
		"--ids":                 identityID,
		"--identities":          identityID + `( ` + identityID + `)*`,
		"--issuer":              `https://\S+`,
	}
}

// hold says which flag has a value that it cannot have.
func (a arguments) hold() error {
	all := valid()
	for name, value := range a.flags {
		if pattern, has := all[name]; has && !regexp.MustCompile(`^(`+pattern+`)$`).MatchString(value) {
			return fmt.Errorf("flag %s cannot be %s, but %s", name, value, strings.ReplaceAll(pattern, "|", ", "))
		}
	}
	return nil
}
