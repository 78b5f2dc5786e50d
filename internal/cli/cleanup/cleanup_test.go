package cleanup_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cleanup"
	"github.com/podid-io/podid/internal/cli/exit"
)

// podid runs podid cleanup.
func podid(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	c := cleanup.New()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(append([]string{"--kubeconfig", plane.Kubeconfig()}, args...))
	err := c.ExecuteContext(t.Context())
	if code, ok := errors.AsType[exit.Error](err); ok {
		status = int(code)
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), status
}

func TestCleanup(t *testing.T) {
	w := newWorld(t, "all")
	w.run(t, answers{})
	out, errs, status := podid(t, "-n", "all", "--yes")
	want := `ending mic
taking identities off the machines
taking the redirect off 2 nodes, for about a minute: an agent that ends answers first what it holds
the redirect is off 2 nodes
`
	if diff := cmp.Diff(want, out); diff != "" || status != 0 {
		t.Errorf("status %d, %s (-want +got):\n%s", status, errs, diff)
	}
	t.Run("mic cleanup has run as mic did", func(t *testing.T) {
		spec := w.job.Spec.Template.Spec
		if got := spec.Containers[0].Args[:3]; !slices.Equal(got, []string{"cleanup", "--cloud-config=", "--immutable-user-msis=a"}) {
			t.Errorf("arguments %q", got)
		}
		if spec.ServiceAccountName != "podid-mic" || len(spec.Containers[0].Env) != 4 || spec.Volumes[0].HostPath == nil || spec.Volumes[1].Secret.Optional != nil || spec.Containers[0].LivenessProbe != nil {
			t.Errorf("pod %+v", spec)
		}
		err := w.client.Get(t.Context(), client.ObjectKeyFromObject(w.job), &batchv1.Job{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("the Job is still there: %v", err)
		}
	})
	t.Run("nmi's pods take the redirect away, and stay", func(t *testing.T) {
		var d appsv1.DaemonSet
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "all", Name: "podid-nmi"}, &d); err != nil {
			t.Fatal(err)
		}
		spec := d.Spec.Template.Spec
		if diff := cmp.Diff([]string{"uninstall-redirect", "--listen=169.254.25.79:2579", "--stay"}, spec.Containers[0].Args); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
		if p := spec.Containers[0].ReadinessProbe; p == nil || p.Exec == nil || len(spec.InitContainers) > 0 {
			t.Errorf("what Helm would not take back: %+v", spec)
		}
		if u := d.Spec.UpdateStrategy.RollingUpdate; u.MaxSurge.IntValue() != 0 || u.MaxUnavailable.String() != "100%" {
			t.Errorf("update %+v", u)
		}
	})
	t.Run("again", func(t *testing.T) {
		if out, errs, status := podid(t, "-n", "all", "--yes"); status != 0 || !strings.Contains(out, "the redirect is off 2 nodes") {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
	})
}

func TestCleanupTellsOnly(t *testing.T) {
	w := newWorld(t, "tells")
	out, _, status := podid(t, "-n", "tells")
	want := `would end mic (Deployment tells/podid-mic)
would take off the machines what podid attached (mic cleanup)
would end nmi on 2 nodes, and take the redirect off them (DaemonSet tells/podid-nmi)
would delete what helm test left (Pod tells/podid-test)
with --yes it is done
`
	if diff := cmp.Diff(want, out); diff != "" || status != 0 {
		t.Errorf("status %d (-want +got):\n%s", status, diff)
	}
	var mic appsv1.Deployment
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "tells", Name: "podid-mic"}, &mic); err != nil || *mic.Spec.Replicas != 2 {
		t.Errorf("mic has %v replicas, %v", mic.Spec.Replicas, err)
	}
}

func TestCleanupOfNothing(t *testing.T) {
	if _, errs, status := podid(t, "-n", "default", "--yes"); status != 1 || !strings.Contains(errs, "there is no podid in namespace default") || strings.Contains(errs, "helm") {
		t.Errorf("status %d: %s", status, errs)
	}
}

// arguments are those of nmi.
func (w *world) arguments(t *testing.T) []string {
	t.Helper()
	var d appsv1.DaemonSet
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "podid-nmi"}, &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Args
}

func TestCleanupNamesWhatIsLeft(t *testing.T) {
	t.Run("on machines, and opens it to the pods there only when told", func(t *testing.T) {
		w := newWorld(t, "refused")
		w.run(t, answers{jobFails: true})
		out, errs, status := podid(t, "-n", "refused", "--yes")
		if status != 1 || !strings.Contains(errs, "mic cleanup left something behind") || strings.Contains(out, "redirect") || slices.Contains(w.arguments(t), "uninstall-redirect") {
			t.Errorf("status %d, nmi runs with %q: %s%s", status, w.arguments(t), out, errs)
		}
		for _, way := range []string{
			"podid cleanup -n refused --yes --keep-identities", "helm uninstall RELEASE -n refused --no-hooks", "helm rollback RELEASE REVISION -n refused",
			"kubectl delete job -n refused -l app.kubernetes.io/name=podid", "new pods get none until it runs again",
		} {
			if !strings.Contains(errs, way) {
				t.Errorf("it does not say %q: %s", way, errs)
			}
		}
		out, errs, status = podid(t, "-n", "refused", "--yes", "--keep-identities")
		if status != 1 || strings.Contains(errs, "--no-hooks") || !strings.Contains(out, "every pod of a node can have tokens") || !strings.Contains(out, "the redirect is off 2 nodes") || !strings.Contains(errs, "mic cleanup left something behind") {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
	})
	t.Run("on machines, where mic's Deployment is gone", func(t *testing.T) {
		w := withoutMic(t, "no-mic")
		for _, args := range [][]string{{"-n", "no-mic"}, {"-n", "no-mic", "--yes"}} {
			out, errs, status := podid(t, args...)
			if status != 1 || !strings.Contains(errs, "there is no Deployment of mic in namespace no-mic") || !strings.Contains(errs, "podid cleanup -n no-mic --yes --keep-identities") || out != "" || slices.Contains(w.arguments(t), "uninstall-redirect") {
				t.Errorf("%q: status %d, nmi runs with %q: %s%s", args, status, w.arguments(t), out, errs)
			}
		}
		out, errs, status := podid(t, "-n", "no-mic", "--yes", "--keep-identities")
		if status != 0 || !strings.Contains(out, "every pod of a node can have tokens") || strings.Contains(out, "mic is not there") || !strings.Contains(out, "the redirect is off 2 nodes") {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
		if out, errs, status = podid(t, "-n", "no-mic", "--yes"); status != 0 || !strings.Contains(out, "the redirect is off 2 nodes") {
			t.Errorf("again, status %d: %s%s", status, out, errs)
		}
	})
	t.Run("on machines, in managed mode", func(t *testing.T) {
		withoutMic(t, "managed").managed(t)
		for range 2 {
			out, errs, status := podid(t, "-n", "managed", "--yes")
			if status != 0 || !strings.Contains(out, "every pod of a node can have tokens") || !strings.Contains(out, "the redirect is off 2 nodes") {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
		}
	})
	t.Run("on machines, when that was asked for", func(t *testing.T) {
		w := newWorld(t, "kept")
		w.run(t, answers{})
		out, errs, status := podid(t, "-n", "kept", "--yes", "--keep-identities")
		if status != 0 || !strings.Contains(out, "every pod of a node can have tokens") {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
		if args := w.job.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--keep-identities") {
			t.Errorf("mic cleanup ran with %q", args)
		}
		startsWithoutWhatIsGone(t, w.job.Spec.Template.Spec)
	})
	t.Run("where mic cleanup never ends, and leaves nmi its time", func(t *testing.T) {
		t.Parallel() // it waits for half of its time
		w := newWorld(t, "hangs")
		w.run(t, answers{jobHangs: true})
		out, errs, status := podid(t, "-n", "hangs", "--yes", "--keep-identities", "--timeout=24s")
		if status != 1 || !strings.Contains(errs, "mic cleanup has not ended: the time is up (--timeout)") || !strings.Contains(out, "the redirect is off 2 nodes") {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
		var job batchv1.Job
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "hangs", Name: "podid-mic-cleanup"}, &job); err != nil {
			t.Fatal(err)
		}
		spec := job.Spec
		limit, found := strings.CutPrefix(spec.Template.Spec.Containers[0].Args[3], "--timeout=")
		d, err := time.ParseDuration(limit)
		if !found || err != nil || time.Duration(*spec.ActiveDeadlineSeconds)*time.Second < d+30*time.Second {
			t.Errorf("%d s for the Job, and %q for what it runs", *spec.ActiveDeadlineSeconds, spec.Template.Spec.Containers[0].Args)
		}
	})
	t.Run("on nodes that do not answer", func(t *testing.T) {
		t.Parallel() // it waits for all of its time
		w := newWorld(t, "silent")
		w.run(t, answers{silentNode: true})
		_, errs, status := podid(t, "-n", "silent", "--yes", "--timeout=20s")
		if status != 1 || strings.Contains(errs, "--no-hooks") || !strings.Contains(errs, "the redirect is not off every node: the time is up (--timeout)\nlook at node-1;") {
			t.Errorf("status %d: %s", status, errs)
		}
	})
	t.Run("where a flag is wrong", func(t *testing.T) {
		if _, errs, status := podid(t, "--timeout=soon"); status != 2 || !strings.Contains(errs, "--timeout") {
			t.Errorf("status %d: %s", status, errs)
		}
	})
}

// startsWithoutWhatIsGone checks that a pod needs nothing that another may have taken
// away, and has left what is always there.
func startsWithoutWhatIsGone(t *testing.T, spec corev1.PodSpec) {
	t.Helper()
	optional, gone := true, corev1.LocalObjectReference{Name: "gone"}
	var empty corev1.VolumeSource
	empty.EmptyDir = &corev1.EmptyDirVolumeSource{}
	want := map[string]corev1.VolumeSource{
		"host": empty, "vault": empty, "disk": empty,
		"cloud": {Secret: &corev1.SecretVolumeSource{SecretName: "gone", Optional: &optional}},
		"ca":    {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: gone, Optional: &optional}},
		"all": {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: gone, Optional: &optional}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: gone, Optional: &optional}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(3600))}},
		}}},
		"tmp":    {EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}},
		"labels": {DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels"}}}}},
	}
	got := map[string]corev1.VolumeSource{}
	for _, v := range spec.Volumes {
		got[v.Name] = v.VolumeSource
	}
	modes := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".DefaultMode" }, cmp.Ignore())
	if diff := cmp.Diff(want, got, modes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	env := []corev1.EnvVar{
		{Name: "CLOUD", Value: "AzureCloud"},
		{Name: "AAD_CLIENT", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: gone, Key: "client", Optional: &optional}}},
		{Name: "AAD_TENANT", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: gone, Key: "tenant", Optional: &optional}}},
		{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}}},
	}
	if diff := cmp.Diff(env[1:2], spec.InitContainers[0].Env); diff != "" {
		t.Errorf("environment of what runs first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(env, spec.Containers[0].Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	from := []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: gone, Optional: &optional}},
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: gone, Optional: &optional}},
	}
	if diff := cmp.Diff(from[1:], spec.InitContainers[0].EnvFrom); diff != "" {
		t.Errorf("environment of whole objects, of what runs first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(from, spec.Containers[0].EnvFrom); diff != "" {
		t.Errorf("environment of whole objects (-want +got):\n%s", diff)
	}
}

// TestCleanupRights runs it with the rights that the chart gives to its hook.
func TestCleanupRights(t *testing.T) {
	w := newWorld(t, "rights")
	w.run(t, answers{jobFails: true})
	w.grant(t)
	kubeconfig := t.TempDir() + "/kubeconfig"
	if err := plane.TokenKubeconfig(t.Context(), "rights", "podid-cleanup", kubeconfig); err != nil {
		t.Fatal(err)
	}
	out, errs, status := podid(t, "--kubeconfig", kubeconfig, "-n", "rights", "--yes", "--keep-identities")
	if status != 1 || !strings.Contains(out, "the redirect is off 2 nodes") || !strings.Contains(errs, "left something behind") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	left := w.client.Get(t.Context(), client.ObjectKey{Namespace: "rights", Name: "podid-test"}, &corev1.Pod{})
	if !apierrors.IsNotFound(left) {
		t.Errorf("what helm test left is still there: %v", left)
	}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "rights", Name: "other-test"}, &corev1.Pod{}); err != nil {
		t.Errorf("what another release's helm test left: %v", err)
	}
	// The log is asked for, of a node that is not there.
	if !strings.Contains(errs, "what it said cannot be had") || strings.Contains(errs, "forbidden") {
		t.Errorf("it says of the log: %s", errs)
	}
}

// hookFile is what the chart's hook renders to, with the rights of the command.
func hookFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../test/chart/testdata/golden/defaults.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
