package node_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// setup is one pod with an identity, in a namespace of its own.
type setup struct {
	t         *testing.T
	w         *world
	namespace string
	pod       *corev1.Pod
	identity  *v1.AzureIdentity
	binding   *v1.AzureIdentityBinding
	more      []client.Object
	end       func() // of what was begun on the machine
}

// anyStatus stands for whatever a command ends with.
const anyStatus = -1

// brokenSetup is a way to break it, and what a person is told.
type brokenSetup struct {
	name string
	// breaks changes the setup before anything of it is created.
	breaks func(s *setup)
	// afterwards breaks what runs (nil: nothing more).
	afterwards func(s *setup)
	// again is done before each time that somebody asks (nil: nothing).
	again func(s *setup)
	// words are what `podid explain` must say, and status what it must end with
	// (0: that something is broken).
	words  []string
	status int
	// mend makes it well again (nil: the setup is not asked once more).
	mend func(s *setup)
}

// broken breaks a setup in every way, has it explained, mends it, and then it
// must be well.
func broken(t *testing.T, w *world) {
	t.Helper()
	for i, b := range brokenSetups() {
		t.Run(b.name, func(t *testing.T) {
			s := newSetup(t, w, fmt.Sprintf("broken-%d", i))
			if b.breaks != nil {
				b.breaks(s)
			}
			s.create()
			if b.afterwards != nil {
				b.afterwards(s)
			}
			explain := func() told { return w.podid(t, "explain", "pod/"+s.pod.Name, "--namespace", s.namespace) }
			start := time.Now()
			var found told
			eventually(t, 5*time.Minute, func() error {
				if b.again != nil {
					b.again(s)
				}
				found = explain()
				return says(found, cmp.Or(b.status, 1), b.words)
			})
			t.Logf("found within %s:\n%s", round(time.Since(start)), found.said)
			if b.mend == nil {
				return
			}
			b.mend(s)
			start = time.Now()
			eventually(t, 5*time.Minute, func() error { return says(explain(), 0, []string{"all is well"}) })
			t.Logf("well again within %s", round(time.Since(start)))
		})
	}
}

// newSetup is one that is well.
func newSetup(t *testing.T, w *world, namespace string) *setup {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "web"}
	template := kind{name: "web"}.template(corev1.RestartPolicyAlways, corev1.Container{Name: "app", Image: curlImage, Args: []string{"pause"}})
	template.Spec.NodeName = machineName(0)
	return &setup{
		t: t, w: w, namespace: namespace, end: func() {},
		pod:      &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", Labels: template.Labels}, Spec: template.Spec},
		identity: &v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{ResourceID: identityID("vault-reader"), ClientID: vaultClient}},
		binding:  &v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: "web", Selector: "web"}},
	}
}

// create creates it, and removes it with the test.
func (s *setup) create() {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	s.w.create(s.t, append([]client.Object{namespace, s.identity, s.binding}, s.more...)...)
	eventually(s.t, time.Minute, func() error { // the namespace's service account comes a moment later
		return s.w.client.Create(s.t.Context(), s.pod)
	})
	s.t.Cleanup(func() {
		if err := s.w.client.Delete(context.WithoutCancel(s.t.Context()), namespace); err != nil {
			s.t.Error(err)
		}
	})
}

// patch changes an object.
func (s *setup) patch(o client.Object, patch string) {
	s.t.Helper()
	if err := s.w.client.Patch(s.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		s.t.Fatal(err)
	}
}

// copyOf is the same object for another namespace, to be created.
func copyOf[T interface {
	client.Object
	DeepCopy() T
}](o T, namespace string,
) T {
	c := o.DeepCopy()
	c.SetNamespace(namespace)
	c.SetResourceVersion("")
	c.SetUID("")
	return c
}

// told is what the command line has said.
type told struct {
	status int
	said   string
}

// podid runs podid's command line, as somebody does with the kubeconfig of the
// cluster's operator.
func (w *world) podid(t *testing.T, args ...string) told {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), prepared("podid"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.full.Kubeconfig())
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return told{status: cmd.ProcessState.ExitCode(), said: out.String() + complaint.String()}
}

// says checks the status and the words of a command.
func says(got told, status int, words []string) error {
	var missing []string
	for _, want := range words {
		if !regexp.MustCompile(want).MatchString(got.said) {
			missing = append(missing, want)
		}
	}
	if status != anyStatus && got.status != status || len(missing) > 0 {
		return fmt.Errorf("ended with status %d, want %d, without the words %q:\n%s", got.status, status, strings.Join(missing, " | "), got.said)
	}
	return nil
}
