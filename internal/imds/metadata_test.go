package imds_test

import (
	"testing"

	"github.com/podid-io/podid/internal/imds"
)

func TestUserDataIsAFamilyOfItsOwn(t *testing.T) {
	tests := map[string]imds.Family{
		"/metadata/instance/compute/userData?format=text":          imds.UserData,
		"/metadata/instance/compute/userData/x?format=text":        imds.UserData,
		"/metadata/instance/compute/customdata/value/0":            imds.UserData,
		"/metadata/instance//compute//CUSTOMDATA/":                 imds.UserData,
		"/metadata/instance/userdata":                              imds.UserData,
		"/metadata/instance/network/userData/interface":            imds.UserData,
		"/metadata/instance/compute":                               imds.Instance,
		"/metadata/instance/compute/name?format=text":              imds.Instance,
		"/metadata/attested/document":                              imds.Attested,
		"/metadata/scheduledevents?api-version=2020-07-01":         imds.ScheduledEvents,
		"/metadata/instance/compute/tagsList?api-version=x&nonce=": imds.Instance,
	}
	for target, want := range tests {
		t.Run(target, func(t *testing.T) {
			r := wire(t, target, "Metadata: true")
			if route := imds.Classify(r); route != imds.PassThrough {
				t.Fatalf("Classify() = %d, want PassThrough", route)
			}
			got, err := imds.ParseMetadata(r)
			if err != nil || got.Family != want {
				t.Errorf("ParseMetadata() = %q, %v; want %q", got.Family, err, want)
			}
		})
	}
}
