package chart_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	inspect "github.com/podid-io/podid/internal/cli/cluster"
)

// TestMICsLockIsLookedAt renders old files of values that say what MIC locks:
// mic looks there, and may. Two controllers would be at work without that.
func TestMICsLockIsLookedAt(t *testing.T) {
	const usual = "default/aad-pod-identity-mic,podid-system/aad-pod-identity-mic"
	tests := map[string]struct {
		values string
		want   string // of --legacy-lock
	}{
		"a namespace and a name":       {"compatibility: aad-pod-identity\nmic: {leaderElection: {namespace: kube-system, name: my-mic}}", "kube-system/my-mic," + usual},
		"a namespace alone":            {"compatibility: aad-pod-identity\nmic: {leaderElection: {namespace: kube-system}}", "kube-system/aad-pod-identity-mic," + usual},
		"a name alone":                 {"compatibility: aad-pod-identity\nmic: {leaderElection: {name: my-mic}}", "default/my-mic," + usual},
		"those that MIC has by itself": {"compatibility: aad-pod-identity\nmic: {leaderElection: {namespace: default, name: aad-pod-identity-mic}}", usual},
		"the namespace of the release": {"compatibility: aad-pod-identity\nmic: {leaderElection: {namespace: podid-system}}", "podid-system/aad-pod-identity-mic,default/aad-pod-identity-mic"},
		"another that is said":         {"compatibility: aad-pod-identity\nmic: {leaderElection: {name: my-mic}, legacyLocks: [a/b]}", "a/b"},
		"none of its own":              {"compatibility: aad-pod-identity", ""},
		"none with an empty key":       {"compatibility: aad-pod-identity\nmic: {legacyLocks: }", ""},
		"a Lease of podid's alone":     {"mic: {leaderElection: {namespace: kube-system, name: my-mic}}", ""},
		"a duration alone":             {"compatibility: aad-pod-identity\nmic: {leaderElection: {duration: 20s, instance: one}}", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(tc.values+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			list := rendered(t, "--values", file)
			_, args := container(t, find(t, list, "Deployment", "podid-mic"))
			var got string
			for _, arg := range args {
				if locks, ok := strings.CutPrefix(arg, "--legacy-lock="); ok {
					got = locks
				}
			}
			if got != tc.want {
				t.Errorf("--legacy-lock=%s, want %s", got, tc.want)
			}
			may := map[string]bool{}
			for role, rules := range roles(t, list) {
				namespace := strings.Split(role, "/")[1]
				for _, r := range rules {
					if !slices.Contains(r.Resources, "endpoints") || !slices.Contains(r.Verbs, "watch") {
						continue
					}
					for _, lock := range r.ResourceNames {
						may[namespace+"/"+lock] = true
					}
				}
			}
			if tc.want == "" {
				tc.want = usual
			}
			for lock := range strings.SplitSeq(tc.want, ",") {
				if !may[lock] {
					t.Errorf("mic may not watch %s, but %v", lock, may)
				}
			}
		})
	}
}

// TestNotesSayWhatIsOpen holds the notes of a release against what podid doctor
// says of its agents.
func TestNotesSayWhatIsOpen(t *testing.T) {
	t.Parallel()
	said := map[string]string{
		"--allow-cross-namespace":   "pods match bindings of other namespaces",
		"--exception-namespaces":    "exceptions count in every namespace",
		"--pass-through":            "pods read the node's metadata",
		"--host-token":              "root of a node can ask for tokens",
		"--remove-redirect-on-exit": "the redirect goes when nmi ends",
	}
	c := apiServer(t)
	for _, set := range []string{
		"nmi.hold=30s", "forceNamespaced=true", "operationMode=managed", "exceptionNamespaces={kube-system}", "exceptionNamespaces={a,*}",
		"nmi.blockInstanceMetadata=true", "nmi.passThrough={versions}", "nmi.hostToken=false", "nmi.hostToken=true",
		"nmi.extraArgs={--remove-redirect-on-exit=false}", "nmi.extraArgs={--pass-through=}", "nmi.extraArgs={--pass-through=versions}",
		"nmi.passThrough={versions},nmi.extraArgs={--pass-through=}", "nmi.extraArgs={--block-instance-metadata}",
		"nmi.extraArgs={--pass-through=instance\\,userdata,--block-instance-metadata=true}",
		"nmi.extraArgs={--pass-through=userdata,--block-instance-metadata,--block-instance-metadata=false}",
		"nmi.blockInstanceMetadata=true,nmi.extraArgs={--pass-through=userdata,--block-instance-metadata=F}",
		"nmi.extraArgs={--pass-through,versions,--block-instance-metadata}", "nmi.extraArgs={--pass-through,userdata,--block-instance-metadata=1}",
		"nmi.extraArgs={--remove-redirect-on-exit=0}", "nmi.extraArgs={--remove-redirect-on-exit=f,--pass-through=}",
		"nmi.extraArgs={--remove-redirect-on-exit=False,--remove-redirect-on-exit}", "nmi.extraArgs={--pass-through,--remove-redirect-on-exit=0}",
		"forceNamespaced=true,exceptionNamespaces={kube-system},nmi.hostToken=false,nmi.extraArgs={--remove-redirect-on-exit=false}",
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			set := "compatibility=aad-pod-identity," + set
			notes := c.notes(t, set)
			var got, want []string
			for flag, sentence := range said {
				if strings.Contains(notes, "\n  "+sentence) {
					got = append(got, flag)
				}
			}
			for _, o := range opened(t, set) {
				flag, _, _ := strings.Cut(o.Flag, "=")
				want = append(want, flag)
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("--set %s (-doctor +notes):\n%s%s", set, diff, notes)
			}
		})
	}
	t.Run("families that are shut are not named", func(t *testing.T) {
		notes := c.notes(t, "compatibility=aad-pod-identity,nmi.blockInstanceMetadata=true")
		if !strings.Contains(notes, "(attested, scheduledevents, loadbalancer, versions)") {
			t.Error(notes)
		}
	})
	const shut = "compatibility=aad-pod-identity,forceNamespaced=true,exceptionNamespaces={kube-system},nmi.hostToken=false,rbac.allowAccessToSecrets=false,policies.define=true,"
	t.Run("nothing is open but what was asked for", func(t *testing.T) {
		notes := c.notes(t, shut+"nmi.blockInstanceMetadata=true,nmi.passThrough={versions},nmi.extraArgs={--remove-redirect-on-exit=false}")
		if _, list, _ := strings.Cut(notes, "--set:\n"); strings.TrimSpace(list) != "pods read the node's metadata (versions): nmi.passThrough with those that they need, "+
			"or for none 'nmi.passThrough=null,nmi.extraArgs={--remove-redirect-on-exit=false,--pass-through=}'" {
			t.Error(notes)
		}
	})
	t.Run("nothing is open", func(t *testing.T) {
		notes := c.notes(t, shut+"nmi.extraArgs={--remove-redirect-on-exit=false,--pass-through=}")
		if strings.Contains(notes, "shuts it") {
			t.Error(notes)
		}
	})
	for _, set := range []string{
		"nmi.hold=30s", "nmi.passThrough={versions}", "nmi.extraArgs={--pod-rate=5}", "nmi.extraArgs={--authority-hosts=a\\,b}",
		"nmi.extraArgs={--pass-through=versions}", "nmi.extraArgs={--remove-redirect-on-exit=false}", "nmi.blockInstanceMetadata=true",
		"nmi.extraArgs={--pass-through,versions,--pod-rate=5}", "nmi.extraArgs={--remove-redirect-on-exit=f,--remove-redirect-on-exit}",
	} {
		t.Run("what is said to shut it does, after "+set, func(t *testing.T) {
			t.Parallel()
			set := shut + set
			before := opened(t, set)
			for _, quoted := range strings.Split(c.notes(t, set), "'")[1:] {
				if strings.HasPrefix(quoted, "nmi.") {
					set += "," + quoted
				}
			}
			if after := opened(t, set); len(before) == 0 || len(after) != 0 {
				t.Errorf("--set %s leaves open %v, and %v before", set, after, before)
			}
			_, args := container(t, find(t, rendered(t, "--set", set), "DaemonSet", "podid-nmi"))
			for _, kept := range []string{"--pod-rate=5", "--authority-hosts=a,b"} {
				flag, _, _ := strings.Cut(kept, "=")
				if strings.Contains(set, flag) && !slices.Contains(args, kept) {
					t.Errorf("--set %s: %q has no %s", set, args, kept)
				}
			}
		})
	}
}

// TestWhatIsSaidToShutARelease has a release shut as its notes say, which are for one
// that is there already.
func TestWhatIsSaidToShutARelease(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	notes := c.on(t, "install", "podid", chart, "-n", "podid-system", "--create-namespace",
		"--set", "compatibility=aad-pod-identity,installMICException=false,nmi.passThrough={versions},nmi.extraArgs={--remove-redirect-on-exit=false}")
	_, flag, _ := strings.Cut(notes, "by helm upgrade ")
	flag, _, _ = strings.Cut(flag, " --set:\n")
	_, set, _ := strings.Cut(notes, "or for none '")
	set, _, _ = strings.Cut(set, "'")
	c.on(t, "upgrade", "podid", chart, "-n", "podid-system", flag, "--set", set)
	for _, o := range openedIn(t, objects(t, c.on(t, "get", "manifest", "podid", "-n", "podid-system"))) {
		if strings.HasPrefix(o.Flag, "--pass-through") {
			t.Errorf("helm upgrade %s --set %s leaves open %s", flag, set, o.Flag)
		}
	}
}

// TestNotesOfKeysWithNothingBelow: they are not among those that mean nothing.
func TestNotesOfKeysWithNothingBelow(t *testing.T) {
	t.Parallel()
	notes := apiServer(t).notes(t, "nmi.probePort=null,nmi.kubeletConfig=null,nmi.enableScaleFeatures=null,mic.logVerbosity=null")
	if strings.Contains(notes, "Without effect") {
		t.Error(notes)
	}
}

// opened is what podid doctor finds open in nmi of a release.
func opened(t *testing.T, set string) []inspect.Opened {
	t.Helper()
	return openedIn(t, rendered(t, "--set", set))
}

func openedIn(t *testing.T, release []*unstructured.Unstructured) []inspect.Opened {
	t.Helper()
	_, args := container(t, find(t, release, "DaemonSet", "podid-nmi"))
	return inspect.FlagsOf(&corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "nmi", Args: args}}}}).Opened
}

// notes are those of a release.
func (c cluster) notes(t *testing.T, set string) string {
	t.Helper()
	out := c.on(t, "install", "podid", chart, "-n", "podid-system", "--dry-run=client", "--set", set+",installMICException=false") // whose kind is not here
	_, notes, ok := strings.Cut(out, "\nNOTES:\n")
	if !ok {
		t.Fatalf("no notes in\n%s", out)
	}
	return notes
}
