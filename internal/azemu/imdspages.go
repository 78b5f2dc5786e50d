package azemu

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/podid-io/podid/internal/imds"
)

// imdsInstance answers with a machine's metadata, the compute part of it, or one
// field of that as text.
func (e *Emulator) imdsInstance(w http.ResponseWriter, r *http.Request, m *machine) {
	compute := e.computeMetadata(m)
	switch path := strings.Trim(strings.ToLower(r.URL.Path), "/"); path {
	case "metadata/instance":
		writeJSON(w, http.StatusOK, map[string]any{"compute": compute, "network": map[string]any{"interface": []any{}}})
	case "metadata/instance/compute":
		writeJSON(w, http.StatusOK, compute)
	default:
		for field, value := range compute {
			if path != "metadata/instance/compute/"+strings.ToLower(field) {
				continue
			}
			if r.URL.Query().Get("format") != "text" {
				imds.WriteError(w, imds.Errorf(imds.BadRequest, "a single field needs format=text"))
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte(value)) // the client is gone when this fails
			return
		}
		imds.WriteError(w, imds.Errorf(imds.NoSuchPath, "Not found"))
	}
}

// computeMetadata is /metadata/instance/compute, as far as identity is concerned.
func (e *Emulator) computeMetadata(m *machine) map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.cloud.scopes[m.on]
	if !ok {
		return nil
	}
	compute := map[string]string{
		"azEnvironment": "AzurePublicCloud", "location": s.location, "osType": "Linux", "vmId": m.vmID,
		"subscriptionId": s.id.subscription, "resourceGroupName": s.id.group,
		"customData": "", "userData": s.userData, // IMDS shows no custom data any more
		"name": s.id.name, "vmScaleSetName": "", "resourceId": s.id.String(),
	}
	if m.instanceID != "" {
		compute["name"] = s.id.name + "_" + m.instanceID
		compute["vmScaleSetName"] = s.id.name
		compute["resourceId"] = s.id.String() + "/virtualMachines/" + m.instanceID
	}
	return compute
}

// attested is what the signed document of a machine says.
type attested struct {
	Nonce          string            `json:"nonce"`
	VMID           string            `json:"vmId"`
	SubscriptionID string            `json:"subscriptionId"`
	TimeStamp      map[string]string `json:"timeStamp"`
}

// imdsAttested answers in the shape of the attested document. Nobody signed it:
// in place of the PKCS#7 stands the document itself.
func (e *Emulator) imdsAttested(w http.ResponseWriter, r *http.Request, m *machine) {
	const form = "01/02/06 15:04:05 -0700"
	now := time.Now().UTC()
	compute := e.computeMetadata(m)
	document, err := json.Marshal(attested{
		Nonce: r.URL.Query().Get("nonce"), VMID: compute["vmId"], SubscriptionID: compute["subscriptionId"],
		TimeStamp: map[string]string{"createdOn": now.Format(form), "expiresOn": now.Add(6 * time.Hour).Format(form)},
	})
	if err != nil {
		imds.WriteError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"encoding": "pkcs7", "signature": base64.StdEncoding.EncodeToString(document)})
}

// imdsEvents answers that no maintenance is planned.
func imdsEvents(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"DocumentIncarnation": 1, "Events": []any{}})
}

// imdsLoadBalancer answers for a machine behind no load balancer.
func imdsLoadBalancer(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"loadbalancer": map[string]any{"publicIpAddresses": []any{}, "inboundRules": []any{}, "outboundRules": []any{}},
	})
}
