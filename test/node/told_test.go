package node_test

import (
	"testing"
	"time"
)

// What the parts of the test call good and bad.

func TestEveryReportMustBeOfTheRightToken(t *testing.T) {
	good := report{ClientID: vaultClient}
	tests := map[string]struct {
		got  []report
		want bool
	}{
		"one that is good":                  {[]report{good}, true},
		"a good one after one of an error":  {[]report{{Error: "answered 403"}, good}, false},
		"a good one after another's":        {[]report{{ClientID: blobClient}, good}, false},
		"another's after a good one":        {[]report{good, {ClientID: blobClient}}, false},
		"a good one that is told with more": {[]report{good, good}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := allOf(tt.got, vaultClient); (err == nil) != tt.want {
				t.Errorf("allOf() = %v, want good: %t", err, tt.want)
			}
		})
	}
}

func TestLoadMustBeServed(t *testing.T) {
	tests := map[string]struct {
		got  []report
		want bool
	}{
		"tokens alone":                              {[]report{{Good: 5}, {Good: 9}}, true},
		"failures of before":                        {[]report{{Good: 5, Bad: 1}, {Good: 9, Bad: 1}}, true},
		"a failure":                                 {[]report{{Good: 5}, {Good: 9, Bad: 1}}, false},
		"no token":                                  {[]report{{Good: 5}, {Good: 5}}, false},
		"a client that started anew":                {[]report{{Good: 5}, {Good: 1}, {Good: 9}}, false},
		"one that has forgotten its failures":       {[]report{{Good: 5, Bad: 1}, {Good: 7}}, false},
		"a load that stood still":                   {[]report{{Good: 5, Still: time.Second}, {Good: 9, Still: 7 * time.Second}}, false},
		"one that did so for long, in a short time": {[]report{{Good: 5, at: time.Unix(0, 0)}, {Good: 9, Still: 7 * time.Second, at: time.Unix(20, 0)}}, false},
		"one that did so for a part of a long time": {[]report{{Good: 5, at: time.Unix(0, 0)}, {Good: 9, Still: 7 * time.Second, at: time.Unix(60, 0)}}, true},
		"one that did so before":                    {[]report{{Good: 5, Still: time.Minute}, {Good: 9, Still: time.Minute + time.Second}}, true},
		"one report":                                {[]report{{Good: 5, Oldest: time.Unix(1, 0)}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := served(tt.got); (err == nil) != tt.want {
				t.Errorf("served() = %v, want good: %t", err, tt.want)
			}
		})
	}
}
