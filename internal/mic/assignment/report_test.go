package assignment

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/compute"
)

func TestTheGistIsWhatIsToBeDone(t *testing.T) {
	for sentence, test := range map[string]struct {
		x, y string
		same bool
	}{
		"another request": {
			"AADSTS700016: no such app. Trace ID: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 Timestamp: 2026-01-02 03:04:05Z",
			"AADSTS700016: no such app. Trace ID: ff1e2d3c-4b5a-6978-8796-a5b4c3d2e1f1 Timestamp: 2026-11-12 13:14:15Z", true,
		},
		"another port":    {"read tcp 10.0.0.1:53312->20.0.0.1:443: connection reset", "read tcp 10.0.0.1:40222->20.0.0.1:443: connection reset", true},
		"another problem": {"409 Conflict", "403 AuthorizationFailed", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := gist(test.x) == gist(test.y); got != test.same {
				t.Errorf("the same: %v, want %v", got, test.same)
			}
		})
	}
}

func TestAProblemIsToldOnceHoweverItIsWorded(t *testing.T) {
	play(t, Config{}, func(l scene) {
		tries := 0
		l.azure.be(func() {
			l.azure.unread = func() error {
				tries++
				return &compute.Error{Scope: theScope, Doing: "read", Reason: fmt.Sprintf("no token. Trace ID: %d Timestamp: %s", tries, time.Now())}
			}
		})
		l.node()
		l.identity("app")
		for i := range 10 {
			l.pod(fmt.Sprint("web-", i), "app")
		}
		l.settle(10 * time.Minute)
		if tries < 5 || l.told.times != 1 || !strings.Contains(l.told.of("app"), "no token") {
			t.Errorf("told %d times in %d tries: %q, want once", l.told.times, tries, l.told.of("app"))
		}
	})
}

func TestAProblemThatHoldsNoMoreIsTakenBack(t *testing.T) {
	for sentence, then := range map[string]func(l scene){
		"its AzureIdentity is corrected": func(l scene) {
			l.azure.be(func() { l.azure.refuse, l.azure.takes = nil, time.Hour })
			l.spec("app", arm("other"))
		},
		"the scope is forgotten": func(l scene) {
			l.remove(
				&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}},
				&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
			)
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{KeepWarm: -1}, func(l scene) {
				l.azure.be(func() { l.azure.refuse = func([]string, []string) error { return refused(arm("app")) } })
				l.node()
				l.identity("app")
				l.pod("web", "app")
				l.settle(time.Second)
				if l.told.of("app") == "" {
					t.Fatal("at first nothing was told")
				}
				then(l)
				l.settle(10 * time.Minute)
				if got := l.told.of("app"); got != "" {
					t.Errorf("in the end it is said that %q, want nothing", got)
				}
			})
		})
	}
}

// theBinding is the binding in advance of scenes, on the scale set.
var theBinding = onTheScope(true, "app")

// inAdvance makes a binding that has the identity of a name on all nodes.
func (l scene) inAdvance(identity string) *v1.AzureIdentityBinding {
	b := &v1.AzureIdentityBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Annotations: map[string]string{v1.AnnotationPreAssign: "*"}},
		Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: identity, Selector: "app"},
	}
	l.store.put(b)
	return b
}

func TestABindingInAdvanceIsToldOf(t *testing.T) {
	for sentence, test := range map[string]struct {
		first func(l scene) // before the binding
		want  string
		then  func(l scene, b *v1.AzureIdentityBinding)
		gone  bool
	}{
		"an identity that Azure refuses, and then does not": {
			first: func(l scene) {
				l.azure.be(func() { l.azure.refuse = func([]string, []string) error { return refused(arm("app")) } })
			},
			want: "Managed Identity Operator on " + arm("app"),
			then: func(l scene, _ *v1.AzureIdentityBinding) { l.azure.be(func() { l.azure.refuse = nil }) },
		},
		"an identity that is none, and then is": {
			first: func(l scene) { l.spec("app", "/subscriptions/s") },
			want:  "is not the id of a user-assigned managed identity",
			then:  func(l scene, _ *v1.AzureIdentityBinding) { l.spec("app", arm("app")) },
		},
		"an identity that Azure refuses, and then the binding goes": {
			first: func(l scene) {
				l.azure.be(func() { l.azure.refuse = func([]string, []string) error { return refused(arm("app")) } })
			},
			want: "Managed Identity Operator on " + arm("app"),
			then: func(l scene, b *v1.AzureIdentityBinding) { l.remove(b) }, gone: true,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{KeepWarm: -1}, func(l scene) {
				l.node()
				l.identity("app")
				test.first(l)
				b := l.inAdvance("app")
				l.settle(10 * time.Second)
				if got := l.told.problems[theBinding]; !strings.Contains(got, test.want) || l.told.times != 1 {
					t.Fatalf("told %d times: %v, want once, of %q", l.told.times, l.told.problems, test.want)
				}
				test.then(l, b)
				l.settle(20 * time.Minute)
				want := map[matter]string{theBinding: ""}
				if test.gone {
					want = map[matter]string{}
				}
				if got := l.told.problems; !maps.Equal(got, want) {
					t.Errorf("in the end it is said that %v, want %v", got, want)
				}
			})
		})
	}
}

func TestThatABindingIsThereInAdvanceIsToldOnce(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.node()
		l.spec("app", arm("app"))
		l.inAdvance("app")
		l.settle(time.Minute)
		l.doubt() // all is looked at again
		l.settle(time.Minute)
		if problem, told := l.told.problems[theBinding]; !told || problem != "" || l.told.times != 1 {
			t.Errorf("told %d times, at last %q; want once that nothing is wrong", l.told.times, problem)
		}
	})
}

// What somebody wrote is told word by word: a number in it counts.
func TestAnotherMistakeIsTold(t *testing.T) {
	for sentence, test := range map[string]struct {
		write func(l scene, n int)
		of    matter
		want  string
	}{
		"a binding in advance of an AzureIdentity that is not there": {
			func(l scene, n int) { l.inAdvance(fmt.Sprint("app", n)) }, theBinding, "there is no AzureIdentity app2 in namespace team",
		},
		"an AzureIdentity of a type that is none": {
			func(l scene, n int) {
				l.identity("app")
				l.store.put(&v1.AzureIdentity{
					ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"},
					Spec:       v1.AzureIdentitySpec{Type: new(v1.IdentityType(6 + n)), ClientID: "app"},
				})
			}, onTheScope(false, "app"), "spec.type 8 of the AzureIdentity is unknown",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				l.node()
				l.pod("web", "app")
				test.write(l, 1)
				l.settle(time.Minute)
				test.write(l, 2)
				l.settle(time.Minute)
				if got := l.told.problems[test.of]; !strings.Contains(got, test.want) {
					t.Errorf("told %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A condition of a leader before waits for word from each scope that has such a node.
func TestThatABindingIsNotForAScopeAnyMoreIsTold(t *testing.T) {
	for sentence, leave := range map[string]func(l scene, n *corev1.Node, b *v1.AzureIdentityBinding){
		"its node goes":    func(l scene, n *corev1.Node, _ *v1.AzureIdentityBinding) { l.remove(n) },
		"the binding goes": func(l scene, _ *corev1.Node, b *v1.AzureIdentityBinding) { l.remove(b) },
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				l.azure.be(func() { l.azure.takes = time.Hour })
				n := l.node()
				l.spec("app", arm("app"))
				b := l.inAdvance("app")
				l.settle(time.Minute)
				if len(l.told.problems)+len(l.told.forgotten) > 0 {
					t.Fatalf("while it is on its way, told %v, and of %v no more", l.told.problems, l.told.forgotten)
				}
				leave(l, n, b)
				l.settle(time.Minute)
				if !l.told.forgotten[theBinding] {
					t.Error("not told")
				}
			})
		})
	}
}
