package nodeview

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podid-io/podid/test/leaks"
	"github.com/podid-io/podid/test/localcluster"
)

// reading starts a reader of secrets.
func reading(t *testing.T, config *rest.Config) *Secrets {
	t.Helper()
	s, err := NewSecrets(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(func() { cancel(); g.Wait() })
	return s
}

// awaitSecret asks for a secret until the answer is as wanted.
func awaitSecret(t *testing.T, s *Secrets, name string, want map[string][]byte, wantErr error) {
	t.Helper()
	timeout := time.After(3 * time.Minute)
	for {
		got, changed, err := s.Get("team", name)
		if errors.Is(err, wantErr) && cmp.Equal(want, got) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("Get(%s) = %d keys, %v; want %d keys, %v", name, len(got), err, len(want), wantErr)
		}
	}
}

func TestSecrets(t *testing.T) {
	leaks.Await(t)
	cp, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	k, err := kubernetes.NewForConfig(cp.REST())
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, ns := range []string{"team", "podid-system"} {
		_, err = k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
		must(err)
	}
	api := k.CoreV1().Secrets("team")
	put := func(name, value string) {
		t.Helper()
		_, err := api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"clientSecret": []byte(value)}}, metav1.CreateOptions{})
		must(err)
	}
	put("app", "one")
	put("other", "theirs")

	t.Run("follows one secret", func(t *testing.T) {
		s := reading(t, cp.REST())
		if _, _, err := s.Get("team", "app"); !errors.Is(err, ErrSecretNotRead) {
			t.Errorf("the first Get() = %v, want ErrSecretNotRead", err)
		}
		awaitSecret(t, s, "app", map[string][]byte{"clientSecret": []byte("one")}, nil)
		secret, err := api.Get(t.Context(), "app", metav1.GetOptions{})
		must(err)
		secret.Data = map[string][]byte{"clientSecret": []byte("two")}
		_, err = api.Update(t.Context(), secret, metav1.UpdateOptions{})
		must(err)
		awaitSecret(t, s, "app", map[string][]byte{"clientSecret": []byte("two")}, nil)
		must(api.Delete(t.Context(), "app", metav1.DeleteOptions{}))
		awaitSecret(t, s, "app", nil, ErrNoSecret)
		put("app", "three")
		awaitSecret(t, s, "app", map[string][]byte{"clientSecret": []byte("three")}, nil)
		awaitSecret(t, s, "missing", nil, ErrNoSecret)
	})
	t.Run("says that it may not, until it may", func(t *testing.T) {
		file := t.TempDir() + "/kubeconfig"
		_, err := k.CoreV1().ServiceAccounts("podid-system").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "podid-nmi"}}, metav1.CreateOptions{})
		must(err)
		must(cp.TokenKubeconfig(t.Context(), "podid-system", "podid-nmi", file))
		config, err := clientcmd.BuildConfigFromFlags("", file)
		must(err)
		s := reading(t, config)
		awaitSecret(t, s, "app", nil, ErrSecretForbidden)
		_, err = k.RbacV1().Roles("team").Create(t.Context(), &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: "one-secret"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"app"}, Verbs: []string{"get", "list", "watch"}}},
		}, metav1.CreateOptions{})
		must(err)
		_, err = k.RbacV1().RoleBindings("team").Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "one-secret"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "one-secret"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "podid-system", Name: "podid-nmi"}},
		}, metav1.CreateOptions{})
		must(err)
		awaitSecret(t, s, "app", map[string][]byte{"clientSecret": []byte("three")}, nil)
		awaitSecret(t, s, "other", nil, ErrSecretForbidden)
	})
	t.Run("serves what it knows while the API server is away", func(t *testing.T) {
		s := reading(t, cp.REST())
		awaitSecret(t, s, "app", map[string][]byte{"clientSecret": []byte("three")}, nil)
		cp.Stop()
		awaitSecret(t, s, "app", map[string][]byte{"clientSecret": []byte("three")}, nil)
		if _, _, err := s.Get("team", "unknown"); !errors.Is(err, ErrSecretNotRead) {
			t.Errorf("Get() of another = %v, want ErrSecretNotRead", err)
		}
	})
}

func TestTooManySecrets(t *testing.T) {
	s, err := NewSecrets(&rest.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxSecrets {
		namespace := "team-" + strconv.Itoa(i/MaxSecretsByNamespace)
		if _, _, err := s.Get(namespace, strconv.Itoa(i)); !errors.Is(err, ErrSecretNotRead) {
			t.Fatal(err)
		}
		if i != MaxSecretsByNamespace {
			continue
		}
		if _, changed, err := s.Get("team-0", "one-more"); !errors.Is(err, ErrTooManySecrets) || changed == nil {
			t.Errorf("Get() of one more of a namespace = %v, want ErrTooManySecrets and something to wait for", err)
		}
	}
	if _, _, err := s.Get("another", "one-more"); !errors.Is(err, ErrTooManySecrets) {
		t.Errorf("Get() = %v, want ErrTooManySecrets", err)
	}
	if _, _, err := s.Get("team-0", "0"); !errors.Is(err, ErrSecretNotRead) {
		t.Errorf("Get() of one that is watched = %v", err)
	}
}

// away is an API server that cannot be reached.
func away() *rest.Config {
	return &rest.Config{Host: "http://127.0.0.1:1", WrapTransport: refuse}
}

func TestASecretThatNobodyAsksForIsForgotten(t *testing.T) {
	some := map[string][]byte{"k": nil}
	tests := map[string]struct {
		data      map[string][]byte // nil: there is none
		failing   bool              // the API server is away
		idle      time.Duration     // nobody has asked for
		wantKnown bool
	}{
		"one that was just asked for":                {some, false, secretIdle - time.Minute, true},
		"one that nobody asks for":                   {some, false, secretIdle, false},
		"one that nobody asks for, which is not":     {nil, false, secretIdleEmpty, false},
		"one that was just asked for, which is not":  {nil, false, secretIdleEmpty / 2, true},
		"one that there is, the API server away":     {some, true, 24 * time.Hour, true},
		"one that there is not, the API server away": {nil, true, secretIdleEmpty, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := NewSecrets(&rest.Config{}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := s.Get("team", "app"); !errors.Is(err, ErrSecretNotRead) {
					t.Fatal(err)
				}
				for _, e := range s.watched {
					e.data, e.failing = tc.data, tc.failing
					<-time.After(tc.idle)
					if left := s.left(e); left > 0 != tc.wantKnown || (len(s.watched) == 1) != tc.wantKnown {
						t.Errorf("watched for %s more, and known: %t; want known: %t", left, len(s.watched) == 1, tc.wantKnown)
					}
				}
			})
		})
	}
}

func TestASecretIsWatchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := reading(t, away())
		watched := func() int {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.watched)
		}
		for range 2 {
			if _, _, err := s.Get("team", "app"); !errors.Is(err, ErrSecretNotRead) {
				t.Errorf("Get() = %v", err)
			}
			if got := watched(); got != 1 {
				t.Errorf("%d are watched when somebody asks", got)
			}
			<-time.After(2 * secretIdleEmpty)
			if got := watched(); got != 0 {
				t.Errorf("%d are watched when nobody asks", got)
			}
		}
	})
}
