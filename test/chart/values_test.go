package chart_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestWrongValuesAreNamed(t *testing.T) {
	tests := map[string]struct {
		set  string
		want string
	}{
		"an unknown value":                         {"replicas=3", "additional properties 'replicas' not allowed"},
		"an unknown value of mic":                  {"mic.replica=3", "at '/mic': additional properties 'replica' not allowed"},
		"an unknown value, deeper":                 {"mic.leaderElection.title=x", "at '/mic/leaderElection': additional properties 'title' not allowed"},
		"an unknown value of an identity":          {"azureIdentities.a.clientId=x", "at '/azureIdentities/a': additional properties 'clientId' not allowed"},
		"a secret that is no reference":            {"azureIdentities.a.clientPassword=secret", "azureIdentities: clientPassword of a is to name a Secret"},
		"a secret without a name":                  {"azureIdentities.a.clientPassword.namespace=n", "azureIdentities: clientPassword of a is to name a Secret"},
		"a secret that is a list":                  {`azureIdentities.a.clientPassword=[s]`, "azureIdentities: clientPassword of a is to name a Secret"},
		"an unknown key in the text of a secret":   {`azureIdentities.a.clientPassword=\{name: s\, namepsace: n}`, "azureIdentities: clientPassword of a has the key namepsace: write name and namespace alone"},
		"an old spelling in the text of a secret":  {`azureIdentities.a.clientPassword=\{Name: s}`, "azureIdentities: clientPassword of a has the key Name: write name and namespace alone"},
		"a secret whose name is a number":          {`azureIdentities.a.clientPassword=\{name: 1}`, "azureIdentities: clientPassword of a has a name that is no text"},
		"a secret whose namespace is null":         {`azureIdentities.a.clientPassword=\{name: s\, namespace: }`, "azureIdentities: clientPassword of a has a namespace that is no text"},
		"a wrong type":                             {"mic.replicas=two", "at '/mic/replicas': got string, want integer"},
		"a mode that is none":                      {"operationMode=manged", "at '/operationMode': value must be one of 'standard', 'managed'"},
		"a compatibility that is none":             {"compatibility=yes", "at '/compatibility': value must be one of '', 'aad-pod-identity'"},
		"a family of metadata that is none":        {"nmi.passThrough={identity}", "at '/nmi/passThrough/0': value must be one of 'instance'"},
		"a duration without unit":                  {"nmi.hold=50", "at '/nmi/hold': got number, want string"},
		"no time to uninstall":                     {"uninstall.timeout=", "at '/uninstall/timeout'"},
		"across namespaces and not":                {"allowCrossNamespace=true,forceNamespaced=true", "allowCrossNamespace and forceNamespaced contradict each other: keep one"},
		"across namespaces in managed mode":        {"allowCrossNamespace=true,operationMode=managed", "allowCrossNamespace does not go with operationMode managed"},
		"two answers to who mic is":                {"mic.cloudConfigSecret=s,mic.cloudConfig=/a/b", "mic.cloudConfigSecret and mic.cloudConfig each say who mic is towards Azure: keep one"},
		"a managed identity and another":           {"mic.managedIdentity.clientID=a,mic.workloadIdentity.clientID=b,mic.workloadIdentity.tenantID=c", "mic.managedIdentity and mic.workloadIdentity each say who mic is towards Azure: keep one"},
		"half a workload identity":                 {"mic.workloadIdentity.clientID=a", "mic.workloadIdentity needs both clientID and tenantID"},
		"half an application":                      {"adminsecret.clientID=a", "adminsecret is no credential: set useMSI to true, or tenantID, clientID and clientSecret"},
		"an old and a new name":                    {"mic.driftInterval=1m,mic.identityAssignmentReconcileInterval=1m", "mic.identityAssignmentReconcileInterval is the old name of mic.driftInterval: keep the new one"},
		"an old and a new name, of nmi":            {"nmi.redirectInterval=1m,nmi.ipTableUpdateTimeIntervalInSeconds=3", "nmi.ipTableUpdateTimeIntervalInSeconds is the old name of nmi.redirectInterval: keep the new one"},
		"a cloud of its own without endpoints":     {"azure.cloud=AzureStackCloud", "set mic.customCloud"},
		"a lock without namespace":                 {"mic.legacyLocks={a}", `mic.legacyLocks "a": write NAMESPACE/NAME`},
		"metadata passed on and blocked":           {"nmi.blockInstanceMetadata=true,nmi.passThrough={userdata}", "nmi.blockInstanceMetadata and nmi.passThrough contradict each other"},
		"all Secrets and some":                     {"rbac.allowAccessToSecrets=true,rbac.secretNamespaces={a}", "leave out rbac.secretNamespaces"},
		"the Secrets of all by compatibility":      {"compatibility=aad-pod-identity,rbac.secretNamespaces={a}", "leave out rbac.secretNamespaces, or set it to false"},
		"monitors without services":                {"metrics.serviceMonitor.enabled=true,metrics.services=false", "metrics.serviceMonitor needs metrics.services"},
		"two kinds of monitors":                    {"metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true", "would count everything twice: keep one"},
		"a taint that podid may not take off":      {"startupTaint=example.com/a", "write podid.io/agent-not-ready, or a key that begins with startup-taint."},
		"a path of azure.json that is none":        {"mic.cloudConfig=azure.json", "at '/mic/cloudConfig'"},
		"a budget that says nothing about itself ": {"mic.podDisruptionBudget.enabled=true", "at '/mic/podDisruptionBudget': additional properties 'enabled' not allowed"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, "--set", tc.set)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("helm template --set %s: %v\nwant %s", tc.set, err, tc.want)
			}
		})
	}
}

// TestValuesAndSchema holds values.yaml and the schema against each other: each
// value is in both. That each default is what the schema asks for, helm says
// whenever it renders.
func TestValuesAndSchema(t *testing.T) {
	values, schema := valuesAndSchema(t)
	properties, _ := schema["properties"].(map[string]any)
	delete(properties, "global") // Helm's own, for charts in charts
	compare(t, "", schema, values)
}

// valuesAndSchema are values.yaml and values.schema.json.
func valuesAndSchema(t *testing.T) (values, schema map[string]any) {
	t.Helper()
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	return values, schema
}

// compare finds what is in one of a schema and of values, and not in the other.
func compare(t *testing.T, at string, schema, values map[string]any) {
	t.Helper()
	if schema["additionalProperties"] != false {
		return
	}
	properties, _ := schema["properties"].(map[string]any)
	for key, value := range values {
		p, ok := properties[key].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, key)
			continue
		}
		if p["type"] == nil && p["enum"] == nil {
			t.Errorf("%s.%s may be of any type", at, key)
		}
		if m, ok := value.(map[string]any); ok && len(m) > 0 {
			compare(t, at+"."+key, p, m)
		}
	}
	for key := range properties {
		if _, ok := values[key]; !ok {
			t.Errorf("%s.%s is not in values.yaml", at, key)
		}
	}
}

// TestIdentitiesWithNextToNothing leaves it to the API server to say what they lack.
func TestIdentitiesWithNextToNothing(t *testing.T) {
	tests := map[string]struct {
		set           string
		spec, binding map[string]any
	}{
		"a namespace alone": {"azureIdentities.a.namespace=podid-system", map[string]any{"type": 0.0}, nil},
		"a secret alone":    {"azureIdentities.a.clientPassword.name=s", map[string]any{"type": 0.0, "clientPassword": map[string]any{"name": "s"}}, nil},
		"a binding's name":  {"azureIdentities.a.binding.name=b", map[string]any{"type": 0.0}, map[string]any{"azureIdentity": "a"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := rendered(t, "--set", tc.set)
			if diff := cmp.Diff(any(tc.spec), find(t, list, "AzureIdentity", "a").Object["spec"]); diff != "" {
				t.Errorf("AzureIdentity (-want +got):\n%s", diff)
			}
			if tc.binding == nil {
				return
			}
			if diff := cmp.Diff(any(tc.binding), find(t, list, "AzureIdentityBinding", "b").Object["spec"]); diff != "" {
				t.Errorf("AzureIdentityBinding (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFluxExample renders the chart with the values of examples/flux.
func TestFluxExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/examples/flux/podid.yaml")
	if err != nil {
		t.Fatal(err)
	}
	values, ok, err := unstructured.NestedMap(find(t, objects(t, string(text)), "HelmRelease", "podid").Object, "spec", "values")
	if err != nil || !ok {
		t.Fatalf("no values: %v", err)
	}
	file := t.TempDir() + "/values.yaml"
	if text, err = yaml.Marshal(values); err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	find(t, rendered(t, "--values", file), "Deployment", "podid-mic")
}
