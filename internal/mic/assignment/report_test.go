package assignment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/compute"
)

// app is the AzureIdentity of scenes.
var app = types.NamespacedName{Namespace: "team", Name: "app"}

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
		if tries < 5 || l.told.times != 1 || !strings.Contains(l.told.problems[app], "no token") {
			t.Errorf("told %d times in %d tries: %q, want once", l.told.times, tries, l.told.problems[app])
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
				if l.told.problems[app] == "" {
					t.Fatal("at first nothing was told")
				}
				then(l)
				l.settle(10 * time.Minute)
				if got := l.told.problems[app]; got != "" {
					t.Errorf("in the end it is said that %q, want nothing", got)
				}
			})
		})
	}
}

func TestABindingInAdvanceIsToldOf(t *testing.T) {
	for sentence, test := range map[string]struct {
		first func(l scene) // before the binding
		want  string
		then  func(l scene, b *v1.AzureIdentityBinding)
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
			then: func(l scene, b *v1.AzureIdentityBinding) { l.remove(b) },
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{KeepWarm: -1}, func(l scene) {
				l.node()
				l.identity("app")
				test.first(l)
				b := &v1.AzureIdentityBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Annotations: map[string]string{v1.AnnotationPreAssign: "*"}},
					Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: "app", Selector: "app"},
				}
				l.store.put(b)
				l.settle(10 * time.Second)
				if got := l.told.problems[app]; !strings.Contains(got, test.want) || l.told.times != 1 {
					t.Fatalf("told %d times: %q, want once, of %q", l.told.times, got, test.want)
				}
				test.then(l, b)
				l.settle(20 * time.Minute)
				if got := l.told.problems[app]; got != "" {
					t.Errorf("in the end it is said that %q, want nothing", got)
				}
			})
		})
	}
}

func TestThatABindingIsThereInAdvanceIsToldOnce(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.node()
		l.spec("app", arm("app"))
		l.store.put(&v1.AzureIdentityBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Annotations: map[string]string{v1.AnnotationPreAssign: "*"}},
			Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: "app", Selector: "app"},
		})
		l.settle(time.Minute)
		l.doubt() // all is looked at again
		l.settle(time.Minute)
		if problem, told := l.told.problems[app]; !told || problem != "" || l.told.times != 1 {
			t.Errorf("told %d times, at last %q; want once that nothing is wrong", l.told.times, problem)
		}
	})
}
