package v1

import (
	"crypto/sha256"
	"encoding/hex"
)

// A Spelling is a field under a name from before AAD Pod Identity 1.6 and
// under today's, both as paths from the root of the object.
type Spelling struct {
	Old, New string
}

// Canonical returns the spec with every old spelling folded into today's name
// and the old fields empty. Type is never nil in it. It is the only reader of
// the old fields; everything in podid reads specs through it.
func (s AzureIdentitySpec) Canonical() AzureIdentitySpec {
	if s.Type == nil {
		s.Type = s.OldType
	}
	if s.Type == nil {
		s.Type = new(UserAssignedMSI)
	}
	s.ResourceID = either(s.ResourceID, s.OldResourceID)
	s.ClientID = either(s.ClientID, s.OldClientID)
	s.TenantID = either(s.TenantID, s.OldTenantID)
	s.ADResourceID = either(s.ADResourceID, s.OldADResourceID)
	s.ADEndpoint = either(s.ADEndpoint, s.OldADEndpoint)
	if len(s.AuxiliaryTenantIDs) == 0 {
		s.AuxiliaryTenantIDs = s.OldAuxiliaryTenantIDs
	}
	if s.ClientPassword == nil {
		s.ClientPassword = s.OldClientPassword
	}
	if p := s.ClientPassword; p != nil {
		s.ClientPassword = &SecretReference{Name: either(p.Name, p.OldName), Namespace: either(p.Namespace, p.OldNamespace)}
	}
	s.OldType, s.OldResourceID, s.OldClientID, s.OldClientPassword = nil, "", "", nil
	s.OldTenantID, s.OldAuxiliaryTenantIDs, s.OldADResourceID, s.OldADEndpoint = "", nil, "", ""
	return s
}

// DeprecatedFields lists the old spellings that the spec uses, in a fixed order.
func (s AzureIdentitySpec) DeprecatedFields() []Spelling {
	var out []Spelling
	out = used(out, s.OldType != nil, "Type", "type")
	out = used(out, s.OldResourceID != "", "ResourceID", "resourceID")
	out = used(out, s.OldClientID != "", "ClientID", "clientID")
	out = used(out, s.OldClientPassword != nil, "ClientPassword", "clientPassword")
	for _, p := range []*SecretReference{s.ClientPassword, s.OldClientPassword} {
		if p != nil {
			out = used(out, p.OldName != "", "clientPassword.Name", "clientPassword.name")
			out = used(out, p.OldNamespace != "", "clientPassword.Namespace", "clientPassword.namespace")
		}
	}
	out = used(out, s.OldTenantID != "", "TenantID", "tenantID")
	out = used(out, len(s.OldAuxiliaryTenantIDs) > 0, "AuxiliaryTenantIDs", "auxiliaryTenantIDs")
	out = used(out, s.OldADResourceID != "", "ADResourceID", "adResourceID")
	out = used(out, s.OldADEndpoint != "", "ADEndpoint", "adEndpoint")
	return out
}

// Canonical returns the spec with every old spelling folded into today's name.
func (s AzureIdentityBindingSpec) Canonical() AzureIdentityBindingSpec {
	s.AzureIdentity = either(s.AzureIdentity, s.OldAzureIdentity)
	s.Selector = either(s.Selector, s.OldSelector)
	if s.Weight == 0 {
		s.Weight = s.OldWeight
	}
	s.OldAzureIdentity, s.OldSelector, s.OldWeight = "", "", 0
	return s
}

// DeprecatedFields lists the old spellings that the spec uses, in a fixed order.
func (s AzureIdentityBindingSpec) DeprecatedFields() []Spelling {
	var out []Spelling
	out = used(out, s.OldAzureIdentity != "", "AzureIdentity", "azureIdentity")
	out = used(out, s.OldSelector != "", "Selector", "selector")
	out = used(out, s.OldWeight != 0, "Weight", "weight")
	return out
}

// Canonical returns the spec with every old spelling folded into today's name.
func (s AzurePodIdentityExceptionSpec) Canonical() AzurePodIdentityExceptionSpec {
	if len(s.PodLabels) == 0 {
		s.PodLabels = s.OldPodLabels
	}
	s.OldPodLabels = nil
	return s
}

// DeprecatedFields lists the old spellings that the spec uses.
func (s AzurePodIdentityExceptionSpec) DeprecatedFields() []Spelling {
	return used(nil, len(s.OldPodLabels) > 0, "PodLabels", "podLabels")
}

// NodeLabel is the value of LabelNodeName for a node: its name, or, where that
// is longer than a label may be, its beginning and a hash of the whole.
func NodeLabel(node string) string {
	const longest = 63
	if len(node) <= longest {
		return node
	}
	sum := sha256.Sum256([]byte(node))
	return node[:longest-13] + "-" + hex.EncodeToString(sum[:6])
}

func either(now, old string) string {
	if now != "" {
		return now
	}
	return old
}

func used(list []Spelling, is bool, old, now string) []Spelling {
	if is {
		list = append(list, Spelling{Old: "spec." + old, New: "spec." + now})
	}
	return list
}
