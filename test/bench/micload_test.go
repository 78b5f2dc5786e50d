package main

import "testing"

func TestWritesOfMIC(t *testing.T) {
	tests := map[string]struct {
		labels string
		want   bool
	}{
		"an object of a pod":           {`code="201",resource="azureassignedidentities",subresource="",verb="POST"} 10`, true},
		"a record":                     {`code="200",resource="configmaps",subresource="",verb="PUT"} 1`, true},
		"a condition":                  {`code="200",resource="azureidentities",subresource="status",verb="PATCH"} 1`, true},
		"an identity itself":           {`code="201",resource="azureidentities",subresource="",verb="POST"} 1`, false},
		"a list":                       {`code="200",resource="azureassignedidentities",subresource="",verb="LIST"} 1`, false},
		"a Lease, which is by a clock": {`code="200",resource="leases",subresource="",verb="PUT"} 1`, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mics(tc.labels); got != tc.want {
				t.Errorf("mics(%s) = %t, want %t", tc.labels, got, tc.want)
			}
		})
	}
}
