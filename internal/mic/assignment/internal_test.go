package assignment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
		"never longer than the bound": {60, errors.New("x"), mostRetry * time.Second},
		"unless Azure asks for it":    {0, throttled, 20 * time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			for range 100 {
				if got := backOff(time.Second, test.failures, test.err, mostRetry); got < test.want || got > test.want*6/5 {
					t.Fatalf("backOff() = %s, want %s and up to a fifth more", got, test.want)
				}
			}
		})
	}
}

func TestHowLongAFailureIsWaitedFor(t *testing.T) {
	for sentence, test := range map[string]struct {
		err   error
		alone bool
		want  int
	}{
		"another operation ends soon":  {&compute.Error{Kind: compute.Conflict}, false, mostConflict},
		"a quota may last":             {&compute.Error{Kind: compute.Conflict, Lasting: true}, false, mostRetry},
		"a machine that is not there":  {&compute.Error{Kind: compute.NotFound}, true, mostAlone},
		"a machine that is said to be": {&compute.Error{Kind: compute.NotFound}, false, mostRetry},
		"whatever else":                {errors.New("x"), false, mostRetry},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := most(test.err, test.alone); got != test.want {
				t.Errorf("most() = %d, want %d", got, test.want)
			}
		})
	}
}

func TestAFlightNoticesWhatTheNextIsFor(t *testing.T) {
	for sentence, test := range map[string]struct {
		plan assign.Changes
		want bool
	}{
		"what is on its way is not new":       {assign.Changes{Attach: []string{"a"}, Detach: []string{"d"}}, false},
		"another to attach":                   {assign.Changes{Attach: []string{"a", "b"}}, true},
		"one that is just being detached":     {assign.Changes{Attach: []string{"d"}}, true},
		"another to detach":                   {assign.Changes{Detach: []string{"e"}}, true},
		"nobody needs what is being attached": {assign.Changes{Detach: []string{"a"}}, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := &flight{changes: assign.Changes{Attach: []string{"a"}, Detach: []string{"d"}}}
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

func TestFailuresTellNobodyOfOthers(t *testing.T) {
	const prefix = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	scope := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool"}
	const generic = "change scale set g/pool: Azure refused the whole change, of which this identity is a part; it is tried again"
	const advice = "change scale set g/pool: check that the identity exists and that mic's identity has the role Managed Identity Operator on it"
	for sentence, test := range map[string]struct {
		kind   compute.Kind
		reason string
		alone  bool
		want   string
	}{
		"one's own identity":                  {compute.BadIdentity, "400: '" + prefix + "Reader' was not found.", false, advice + " (400: '" + prefix + "Reader' was not found.)"},
		"another's":                           {compute.BadIdentity, "400: '" + prefix + "reader-2' was not found.", false, generic},
		"one whose name begins the same":      {compute.Other, "500: " + prefix + "reader.x", false, generic},
		"another's, at the end of a sentence": {compute.Other, "500: " + prefix + "other.", false, generic},
		"both":                                {compute.BadIdentity, "400: '" + prefix + "reader," + prefix + "other' were not found.", false, advice},
		"a bad one that is not named":         {compute.BadIdentity, "400: 'other' was not found.", false, generic},
		"another's, and nothing is advised":   {compute.Other, "500: " + prefix + "other", false, generic},
		"no identity at all":                  {compute.Other, "500: oops", false, "change scale set g/pool: 500: oops"},
		"a bad one that is not named, alone":  {compute.BadIdentity, "400: 'Reader' was not found.", true, advice + " (400: 'Reader' was not found.)"},
	} {
		t.Run(sentence, func(t *testing.T) {
			err := &compute.Error{Kind: test.kind, Scope: scope, Doing: "change", Reason: test.reason}
			if got := about(errors.Join(err, errors.New("x")), prefix+"reader", test.alone); got != test.want {
				t.Errorf("about() = %q, want %q", got, test.want)
			}
		})
	}
}

func TestNotesAreAsLongAsTheAPIServerTakes(t *testing.T) {
	if got := cut("short"); got != "short" {
		t.Errorf("cut() = %q", got)
	}
	for n := range 4 { // wherever the cut falls in a rune
		got := cut(strings.Repeat("x", n) + strings.Repeat("ü", 2000))
		if len(got) > 1024 || len(got) < 1020 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
			t.Errorf("cut() has %d bytes and ends in %q", len(got), got[len(got)-5:])
		}
	}
}

func TestTroubleIsThatOfScopesThatNeedAzure(t *testing.T) {
	var got error
	tr := troubles{report: func(err error) { got = err }, by: make(map[assign.Scope]error)}
	a, b := assign.Scope{Kind: assign.VM, Name: "a"}, assign.Scope{Kind: assign.VM, Name: "b"}
	failure := func(scope assign.Scope, kind compute.Kind) error {
		return &compute.Error{Kind: kind, Scope: scope, Doing: "read", Reason: "oops"}
	}
	for _, step := range []struct {
		scope assign.Scope
		err   error
		want  string
	}{
		{b, failure(b, compute.Other), "read virtual machine /b: oops"},
		{a, nil, "read virtual machine /b: oops"}, // one that works says nothing about the other
		{a, errors.Join(failure(a, compute.Other), errors.New("x")), "read virtual machine /a: oops (and 1 more)"},
		{a, failure(a, compute.Throttled), "read virtual machine /b: oops"},
		{b, nil, "<nil>"},
	} {
		tr.set(step.scope, step.err)
		if text := fmt.Sprint(got); text != step.want {
			t.Errorf("after %s: %v: %q, want %q", step.scope, step.err, text, step.want)
		}
	}
}

// occupied is an API server where the name of an object is held by one that is
// being deleted.
type occupied struct {
	client.Reader
	client.Writer
}

func (occupied) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	return apierrors.NewAlreadyExists(schema.GroupResource{}, o.GetName())
}

func (occupied) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetDeletionTimestamp(new(metav1.Now()))
	o.SetFinalizers([]string{"others/finalizer"})
	return nil
}

func TestANameThatIsStillTakenIsNoSuccess(t *testing.T) {
	recorder := events.NewFakeRecorder(10)
	r := newReconciler(Config{Live: occupied{}, Writer: occupied{}, Recorder: recorder, Log: slog.New(slog.DiscardHandler)})
	s := r.newState(kept{})
	o := &v1.AzureAssignedIdentity{
		Spec:   v1.AzureAssignedIdentitySpec{AzureIdentityRef: &v1.AzureIdentityRef{}, AzureBindingRef: &v1.AzureBindingRef{}},
		Status: v1.AzureAssignedIdentityStatus{Status: v1.Assigned},
	}
	got := r.write(t.Context(), assign.Scope{}, s, assign.Plan{Create: []*v1.AzureAssignedIdentity{o}}, time.Time{})
	if want := (later{wait: retryHeld}); got != want {
		t.Errorf("write() = %v, want %v", got, want)
	}
	if len(s.unseen) > 0 || len(recorder.Events) > 0 {
		t.Errorf("%d writes are waited for and %d events were sent, want none", len(s.unseen), len(recorder.Events))
	}
}

func TestOfSeveralFailuresOneThatPassesIsEnough(t *testing.T) {
	passing, lasting := &compute.Error{Kind: compute.Conflict}, &compute.Error{Kind: compute.BadIdentity}
	for sentence, test := range map[string]struct {
		err  error
		want bool
	}{
		"one that lasts":           {lasting, false},
		"one that passes":          {passing, true},
		"one that lasts is first":  {errors.Join(lasting, passing), true},
		"one that passes is first": {errors.Join(passing, lasting), true},
		"all last":                 {errors.Join(lasting, lasting), false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := passes(test.err); got != test.want {
				t.Errorf("passes() = %v, want %v", got, test.want)
			}
		})
	}
}
