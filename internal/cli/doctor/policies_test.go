package doctor

import (
	"strings"
	"testing"
)

func TestWhatIsOpenWithoutAPolicy(t *testing.T) {
	for missing, want := range map[string]string{
		"ValidatingAdmissionPolicy podid-authority":            "nmi refuses the same",
		"ValidatingAdmissionPolicyBinding podid-define":        "OPEN: whoever may write an AzureIdentity",
		"ValidatingAdmissionPolicy podid-startup-taint":        "OPEN: the right to change nodes",
		"ValidatingAdmissionPolicyBinding podid-startup-taint": "OPEN: the right to change nodes",
	} {
		if got := without([]string{missing}); !strings.HasPrefix(got, want) {
			t.Errorf("without %s: %s", missing, got)
		}
	}
}
