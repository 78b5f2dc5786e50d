package entra_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/token"
)

func TestTenantAsksOnceForManyCallers(t *testing.T) {
	var calls atomic.Int32
	asked, answer := make(chan struct{}, 100), make(chan struct{})
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		asked <- struct{}{}
		<-answer
		_, _ = w.Write([]byte(`{"tenantId":"t"}`))
	}))
	impatient, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, err := source.Tenant(impatient); gone <- err }()
	<-asked
	cancel() // who asked first leaves: the others still get their answer
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Tenant() = %v, want the caller's own end", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := source.Tenant(t.Context()); err != nil || got != "t" {
				t.Errorf("Tenant() = %s, %v", got, err)
			}
		})
	}
	close(answer)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls, want one", n)
	}
}

func TestTenantRemembersAFailureForAWhile(t *testing.T) {
	var calls atomic.Int32
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	began := time.Now()
	for range 20 {
		if _, err := source.Tenant(t.Context()); err == nil || token.KindOf(err) != token.Unavailable {
			t.Errorf("Tenant() = %v, want it unavailable", err)
		}
	}
	if n := calls.Load(); n != 1 && time.Since(began) < 5*time.Second { // until it is asked again
		t.Errorf("%d calls in %s, want one", n, time.Since(began))
	}
}

func TestTenantIsAskedForAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, fails := 0, true
		get := entra.TenantOf(func(context.Context) (string, error) {
			if calls++; fails {
				return "", errors.New("down")
			}
			return "t", nil
		})
		step := func(after time.Duration, failing bool, want string, wantCalls int) {
			t.Helper()
			time.Sleep(after)
			fails = failing
			if got, err := get(t.Context()); got != want || (err == nil) != (want != "") || calls != wantCalls {
				t.Errorf("the tenant is %q, %v after %d calls; want %q after %d", got, err, calls, want, wantCalls)
			}
		}
		step(0, true, "", 1)
		step(4*time.Second, false, "", 1)
		step(time.Second, false, "t", 2)
		step(59*time.Minute, true, "t", 2)
		step(time.Minute, true, "t", 3) // it hardly ever changes: the old one, while there is no answer
		step(4*time.Second, true, "t", 3)
		step(time.Second, false, "t", 4)
		step(time.Minute, true, "t", 4)
	})
}

// A pod that asks for page after page delays others by little.
func TestMetadataBoundsWhoWaits(t *testing.T) {
	full := make(chan struct{}) // nobody has an answer before: whoever is late is not refused otherwise
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-full:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte(`{"tenantId":"t"}`))
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var busy, others atomic.Int32
	var wg sync.WaitGroup
	refused := make(chan struct{}, 256)
	for range 256 {
		wg.Go(func() {
			_, err := source.Metadata(ctx, "/metadata/instance", url.Values{})
			switch e, ok := errors.AsType[*token.Error](err); {
			case ok && e.Kind == token.Busy && e.RetryAfter > 0 && strings.Contains(err.Error(), "at most 4 a second"):
				busy.Add(1)
				refused <- struct{}{}
			case err != nil && !errors.Is(err, context.Canceled):
				others.Add(1)
				t.Errorf("Metadata() = %v", err)
			}
		})
	}
	for range 200 { // the rest has a place or an answer
		<-refused
	}
	close(full)
	began := time.Now()
	if got, err := source.Tenant(t.Context()); err != nil || got != "t" || time.Since(began) > 20*time.Second { // of 256 it would come after a minute
		t.Errorf("Tenant() = %s, %v after %s", got, err, time.Since(began))
	}
	cancel()
	wg.Wait()
	if n := busy.Load(); n < 200 || others.Load() != 0 {
		t.Errorf("%d of 256 were told to come back, want most", n)
	}
}

// Pages that hang do not hold what the tenant needs: it is there before any of them ends.
func TestTenantDoesNotWaitForPagesThatHang(t *testing.T) {
	hanging := make(chan struct{}, 32)
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metadata/instance" {
			hanging <- struct{}{}
			<-r.Context().Done()
		}
		_, _ = w.Write([]byte(`{"tenantId":"t"}`))
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	refused, ended := make(chan struct{}, 32), make(chan error, 32)
	began := time.Now()
	for range 32 {
		wg.Go(func() {
			if _, err := source.Metadata(ctx, "/metadata/instance", url.Values{}); token.KindOf(err) == token.Busy {
				refused <- struct{}{}
			} else {
				ended <- err
			}
		})
	}
	for range 16 { // as many wait as can
		<-refused
	}
	for range 4 {
		<-hanging
	}
	if got, err := source.Tenant(t.Context()); err != nil || got != "t" {
		t.Errorf("Tenant() = %s, %v", got, err)
	}
	inTime := time.Since(began) < 20*time.Second // then they end of themselves
	select {
	case err := <-ended:
		if inTime {
			t.Errorf("a page has ended before the tenant was there: %v", err)
		}
	default:
	}
	cancel()
	wg.Wait()
}

func TestMetadataWaitsNoLongerThanItsCaller(t *testing.T) {
	source := over(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if _, err := source.Metadata(t.Context(), "/metadata/instance", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.Metadata(ctx, "/metadata/instance", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Metadata() = %v, want the caller's own end", err)
	}
}

// The time is the bubble's; nobody has a turn, and so nothing is sent.
func TestMetadataThatGetsNoTurnSaysWhoseEndItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, err := entra.NewIMDS(entra.IMDSConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := entra.TakePage(t.Context(), source); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		_, err = source.Metadata(t.Context(), "/metadata/instance", nil)
		if e, ok := errors.AsType[*token.Error](err); !ok || e.Kind != token.Unavailable || time.Since(began) != 20*time.Second {
			t.Errorf("Metadata() = %v after %s, want it unavailable after 20s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = source.Metadata(ctx, "/metadata/instance", nil)
		if _, ok := errors.AsType[*token.Error](err); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Metadata() = %v, want the caller's own end", err)
		}
	})
}

// The time is the bubble's.
func TestTurnsOfMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take, _ := entra.Turns()
		var ends []func()
		turn := func() time.Duration {
			t.Helper()
			began := time.Now()
			end, err := take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
			return time.Since(began)
		}
		after := []time.Duration{turn(), turn(), turn(), turn(), turn()}
		if diff := cmp.Diff([]time.Duration{0, time.Second / 4, time.Second / 4, time.Second / 4, time.Second / 4}, after); diff != "" {
			t.Errorf("four a second (-want +got):\n%s", diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := take(ctx); err == nil || token.KindOf(err) != token.Unavailable || ctx.Err() != nil {
			t.Errorf("take() = %v, want it unavailable at once in so little time", err)
		}
		// None of the five has ended: one more could arrive in the same second.
		ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("take() = %v beside five that go on, want the caller's own end", err)
		}
		for _, end := range ends {
			end()
		}
		if got := turn(); got <= time.Second || got > time.Second+time.Second/4 {
			t.Errorf("the next has its turn %s after the end of those before, want a second and a little", got)
		}
	})
}

// The time is the bubble's.
func TestPagesLeaveATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take, takePage := entra.Turns()
		began := time.Now()
		var ends []func()
		for range 4 {
			end, err := takePage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		next := make(chan error, 2)
		go func() { _, err := takePage(ctx); next <- err }()
		go func() { _, err := takePage(t.Context()); next <- err }()
		synctest.Wait()
		if _, err := take(t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("the tenant has its turn after %s, %v; want it next, after four pages that go on", time.Since(began), err)
		}
		if err := <-next; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("takePage() = %v beside four that go on, want the caller's own end", err)
		}
		ends[0]()
		if err := <-next; err != nil {
			t.Errorf("takePage() = %v after the end of one", err)
		}
	})
}
