package controller_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/mic"
)

// plant is a bug that is planted between mic and the world, to see that it is
// found. The zero value is none.
type plant struct {
	// want is what is said when it is found.
	want string
	// often are steps that happen more often than otherwise.
	often []string
	// few says that hardly anything happens in any bout.
	few bool
	// bout is done at the beginning of each bout.
	bout func(*world)
	// stuck says that the world is never as it should be then, and that a difference
	// which is wanted need only stay for a while.
	stuck bool
	// costly says that the bound on PATCHes is not looked at: it would speak before
	// the law that is meant.
	costly bool
	// warm is how long what is not needed stays; 0 for by chance.
	warm time.Duration
	// config changes what mic is told.
	config func(*mic.Config)
	// machines stands between mic and Azure.
	machines func(azure) azure
	// sent changes a request, and answer an answer; nil answers are the world's.
	sent   func(*world, *call)
	answer func(*world, call, *http.Response)
	// pretended are requests that are answered as if they had been carried out.
	pretended pretended
	// read changes what mic reads of a resource, in its length.
	read func(resource string, text []byte) []byte
}

func (p plant) wrap(a azure) azure {
	if p.machines == nil {
		return a
	}
	return p.machines(a)
}

// made are the differences that the bug makes, in order: none while something is
// under way that a slow machine may take long for.
func (p plant) made(diffs []string) (made []string) {
	want := regexp.MustCompile(p.want)
	for _, d := range diffs {
		if d == notHeard || strings.HasSuffix(d, changing) {
			return nil
		}
		if p.stuck && want.MatchString(d) {
			made = append(made, d)
		}
	}
	slices.Sort(made)
	return made
}

// plants are the bugs, each under what it is.
func plants() map[string]plant {
	// mic itself may find out what no event told of, and take back then what it had
	// told of it.
	const told = "|no event told of a change"
	const revoked = "|no longer Assigned, while" + told
	return map[string]plant{
		"nothing is sent, and said to be done":    {stuck: true, want: "Assigned, while|lacks", machines: func(a azure) azure { return liar{a} }},
		"all else is taken off with each change":  {stuck: true, costly: true, want: "a PATCH takes off|lacks" + revoked, machines: func(a azure) azure { return greedy{a} }},
		"each change is sent twice":               {want: "a PATCH that changes nothing", machines: func(a azure) azure { return stutterer{a} }},
		"a change is tried three times":           {want: "PATCHes more than", few: true, often: append(edits(), "a pod comes", "a pod goes"), machines: func(a azure) azure { return wavering{a} }},
		"an object is Assigned from the start":    {want: "Assigned, while", sent: assignedAtOnce},
		"an edit takes back what there is":        {want: "no longer Assigned, while|no event told", often: edits(), sent: takenBack},
		"an edit of an identity is lost":          {stuck: true, costly: true, want: "pod .* has" + revoked, often: edits(), pretended: pretended{http.MethodPut, object}},
		"an object stays":                         {stuck: true, costly: true, want: "for which there is no reason|two objects|pod .* has" + told, pretended: pretended{http.MethodDelete, object}},
		"a status is not written":                 {stuck: true, want: "is told to be attached|tells of", pretended: pretended{http.MethodPatch, status}},
		"the system-assigned identity is dropped": {want: "drops the system-assigned identity", sent: systemless},
		"a pod that has ended is taken for one":   {stuck: true, want: "for which there is no reason", often: []string{"a pod ends"}, read: endless},
		"what was attached is forgotten with mic": {stuck: true, want: "which nobody needs|no longer Assigned", often: []string{"a mic dies", "a pod goes"}, answer: forgotten},
		"nothing is kept warm": {
			costly: true, want: "after it was needed, not 3s", warm: 3 * time.Second, often: []string{"a pod comes", "a pod goes"}, config: func(c *mic.Config) { c.KeepWarm = -1 },
		},
		"what others take off is not seen": {
			// And what is there is not seen either: pods wait for it.
			stuck: true, want: "lacks|pod .* has", often: []string{"somebody removes an identity", "a pod comes"}, config: func(c *mic.Config) { c.DriftInterval = -1 },
		},
		"what is immutable is taken off": {
			want: "which is immutable", often: append(edits(), "a pod comes", "a pod goes"), config: func(c *mic.Config) { c.Immutable = nil },
		},
		"bindings of other namespaces count": {
			stuck: true, want: "for which there is no reason", config: func(c *mic.Config) { c.Rules.AcrossNamespaces = true },
		},
		"what was refused is tried again at once": {
			// Also what nobody names any more, before mic comes to hear of that.
			want: "which was refused|which nobody has named", often: append(edits(), "Azure refuses an identity"), config: func(c *mic.Config) { c.Quarantine = time.Millisecond },
		},
		"Azure is not left alone when it wants to be": {want: "before Azure wants one", bout: (*world).throttled, answer: impatient},
	}
}

func edits() []string { return []string{"an identity is edited", "a binding is edited"} }

// liar does nothing and says that it did.
type liar struct{ azure }

func (liar) Update(_ context.Context, _ assign.Scope, _ compute.State, attach, detach []string) (compute.Changes, error) {
	return compute.Changes{Done: slices.Concat(attach, detach)}, nil
}

// greedy takes off a machine what it was not told to attach.
type greedy struct{ azure }

func (g greedy) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	for id := range s.User {
		if !slices.Contains(attach, id) && !slices.Contains(detach, id) {
			detach = append(slices.Clone(detach), id)
		}
	}
	return g.azure.Update(ctx, scope, s, attach, detach)
}

// stutterer sends each change twice.
type stutterer struct{ azure }

func (s stutterer) Update(ctx context.Context, scope assign.Scope, state compute.State, attach, detach []string) (compute.Changes, error) {
	done, err := s.azure.Update(ctx, scope, state, attach, detach)
	if err != nil {
		return done, err
	}
	again, err := s.Get(ctx, scope)
	if err != nil {
		return done, nil //nolint:nilerr // the first was carried out
	}
	for _, id := range attach {
		delete(again.User, id)
	}
	_, _ = s.azure.Update(ctx, scope, again, attach, nil) // nobody is to know of it
	return done, nil
}

// wavering asks Azure twice more for what it has done, of a version long gone, which
// it refuses. It does so by clients of its own: what it wastes of what Azure lets one
// do in a minute would hold up the rest.
type wavering struct{ azure }

func (w wavering) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	done, err := w.azure.Update(ctx, scope, s, attach, detach)
	if err != nil {
		return done, err
	}
	s.ETag = `"0"`
	mine, is := w.azure.(ofLine)
	if !is {
		return done, fmt.Errorf("%T is not Azure by a line", w.azure)
	}
	for range 2 {
		_, _ = mine.make(mine.line).Update(ctx, scope, s, attach, detach) // there is nothing left to do
	}
	return done, nil
}

// assignedAtOnce has objects be Assigned when they are made.
func assignedAtOnce(_ *world, c *call) {
	if c.kind == object && c.r.Method == http.MethodPost {
		c.body = bytes.Replace(c.body, []byte(`"Created"`), []byte(`"Assigned"`), 1)
	}
}

// takenBack has objects be Created when they are edited.
func takenBack(_ *world, c *call) {
	if c.kind == object && c.r.Method == http.MethodPut {
		c.body = bytes.Replace(c.body, []byte(`"Assigned"`), []byte(`"Created"`), 1)
	}
}

// systemless drops the system-assigned identity.
func systemless(_ *world, c *call) {
	if c.kind == change {
		c.body = bytes.Replace(c.body, []byte(`"SystemAssigned, UserAssigned"`), []byte(`"UserAssigned"`), 1)
	}
}

// pretended are requests of a method and a kind.
type pretended struct {
	method string
	kind   kind
}

func (p pretended) concerns(c call) bool { return c.kind == p.kind && c.r.Method == p.method }

// forgotten has a record be gone as soon as it is written.
func forgotten(w *world, c call, answer *http.Response) {
	if c.kind != record || answer.StatusCode >= http.StatusBadRequest || c.r.Method == http.MethodDelete {
		return
	}
	o, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(c.body, nil, nil)
	if m, ok := o.(*corev1.ConfigMap); ok && err == nil {
		m.ResourceVersion = ""
		_ = w.api.Delete(c.r.Context(), m) // it is gone already, or mic is
	}
}

// impatient does not pass on when Azure wants to be asked again.
func impatient(_ *world, c call, answer *http.Response) {
	if c.kind == change {
		answer.Header.Set("Retry-After", "0")
	}
}

// endless has pods never end.
func endless(resource string, text []byte) []byte {
	if resource == "pods" {
		text = bytes.ReplaceAll(text, []byte("Succeeded"), []byte("Runninggg"))
		text = bytes.ReplaceAll(text, []byte("Failed"), []byte("Runnin"))
	}
	return text
}
