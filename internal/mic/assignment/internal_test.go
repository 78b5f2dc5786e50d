package assignment

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

func TestBackOffGrowsAndObeysAzure(t *testing.T) {
	throttled := &compute.Error{Kind: compute.Throttled, RetryAfter: 20 * time.Minute}
	for sentence, test := range map[string]struct {
		failures int
		err      error
		want     time.Duration
	}{
		"a second at first":           {0, errors.New("x"), time.Second},
		"twice as long each time":     {3, errors.New("x"), 8 * time.Second},
		"never longer than the bound": {60, errors.New("x"), longestRetry},
		"unless Azure asks for it":    {0, throttled, 20 * time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			for range 100 {
				if got := backOff(test.failures, test.err); got < test.want || got > test.want*6/5 {
					t.Fatalf("backOff() = %s, want %s and up to a fifth more", got, test.want)
				}
			}
		})
	}
}

func TestAFlightNoticesWhatTheNextIsFor(t *testing.T) {
	for sentence, test := range map[string]struct {
		plan assign.Plan
		want bool
	}{
		"what is on its way is not new":       {assign.Plan{Attach: []string{"a"}, Detach: []string{"d"}}, false},
		"another to attach":                   {assign.Plan{Attach: []string{"a", "b"}}, true},
		"one that is just being detached":     {assign.Plan{Attach: []string{"d"}}, true},
		"another to detach":                   {assign.Plan{Detach: []string{"e"}}, true},
		"nobody needs what is being attached": {assign.Plan{Detach: []string{"a"}}, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := &flight{attach: []string{"a"}, detach: []string{"d"}}
			f.notice(test.plan)
			if got := !f.next.IsZero(); got != test.want {
				t.Errorf("noticed: %v, want %v", got, test.want)
			}
		})
	}
}

func TestAWriteIsUnseenUntilTheCacheShowsIt(t *testing.T) {
	object := func(version string, uid types.UID) *v1.AzureAssignedIdentity {
		return &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, UID: uid}}
	}
	for sentence, test := range map[string]struct {
		seen   seen
		object *v1.AzureAssignedIdentity // nil: none
		want   bool
	}{
		"an older version":               {seen{version: "10"}, object("9", "u"), false},
		"this version":                   {seen{version: "10"}, object("10", "u"), true},
		"a later version":                {seen{version: "10"}, object("100", "u"), true},
		"made, and not there":            {seen{version: "10"}, nil, false},
		"deleted, and still there":       {seen{gone: "u"}, object("9", "u"), false},
		"deleted, and gone":              {seen{gone: "u"}, nil, true},
		"deleted, and others hold it up": {seen{gone: "u"}, &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{UID: "u", DeletionTimestamp: new(metav1.Now())}}, true},
		"deleted, and another in place":  {seen{gone: "u"}, object("11", "v"), true},
		"a version that is not a number": {seen{version: "x"}, object("9", "u"), true},
	} {
		t.Run(sentence, func(t *testing.T) {
			exists := test.object != nil
			if !exists {
				test.object = &v1.AzureAssignedIdentity{}
			}
			if got := test.seen.shownBy(test.object, exists); got != test.want {
				t.Errorf("shownBy() = %v, want %v", got, test.want)
			}
		})
	}
}
