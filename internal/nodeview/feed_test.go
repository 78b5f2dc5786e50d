package nodeview

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// refuse lets no request through.
func refuse(http.RoundTripper) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("nobody is there") })
}

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(func(error) {})
		broken := errors.New("broken")
		steps := []struct {
			what string
			do   func()
			want time.Duration // after a minute
		}{
			{"not everything was delivered", func() {}, time.Minute},
			{"still not", func() { f.saw("/pods", nil) }, 2 * time.Minute},
			{"all was", f.delivered, 0},
			{"a watch is made anew", func() { f.saw("/pods", nil) }, 0},
			{"one fails", func() { f.saw("/pods", broken) }, time.Minute},
			{"and another", func() { f.saw("/azureidentities", broken) }, 2 * time.Minute},
			{"and again", func() { f.saw("/pods", broken) }, 3 * time.Minute},
			{"one is back", func() { f.saw("/pods", nil) }, 4 * time.Minute},
			{"both are", func() { f.saw("/azureidentities", nil) }, 0},
			{"one fails once more", func() { f.saw("/pods", broken) }, time.Minute},
		}
		for _, s := range steps {
			s.do()
			<-time.After(time.Minute)
			if got := f.age(); got != s.want {
				t.Errorf("%s: age() = %s, want %s", s.what, got, s.want)
			}
		}
	})
}
