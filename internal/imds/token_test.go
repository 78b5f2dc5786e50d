package imds_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/imds"
)

func TestParseToken(t *testing.T) {
	const version = "api-version=2018-02-01"
	tests := map[string]struct {
		query   string
		headers []string
		want    imds.TokenRequest
		wantErr string
	}{
		"resource escaped, as Go and JavaScript send": {query: version + "&resource=https%3A%2F%2Fvault.azure.net", want: imds.TokenRequest{Resource: "https://vault.azure.net"}},
		"resource raw, as Python sends":               {query: version + "&resource=https://vault.azure.net", want: imds.TokenRequest{Resource: "https://vault.azure.net"}},
		"a trailing slash of the resource is kept":    {query: version + "&resource=https://management.azure.com/", want: imds.TokenRequest{Resource: "https://management.azure.com/"}},
		"client_id":                         {query: version + "&resource=r&client_id=C", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ClientID: "C"}}},
		"clientid":                          {query: version + "&resource=r&clientid=C", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ClientID: "C"}}},
		"object_id":                         {query: version + "&resource=r&object_id=O", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ObjectID: "O"}}},
		"principal_id":                      {query: version + "&resource=r&principal_id=O", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ObjectID: "O"}}},
		"msi_res_id":                        {query: version + "&resource=r&msi_res_id=/s", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ResourceID: "/s"}}},
		"mi_res_id, as Java sends":          {query: version + "&resource=r&mi_res_id=/s", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ResourceID: "/s"}}},
		"msi-res-id, as .NET sends":         {query: version + "&resource=r&msi-res-id=/s", want: imds.TokenRequest{Resource: "r", Selector: imds.Selector{ResourceID: "/s"}}},
		"a later api-version":               {query: "api-version=2025-04-07&resource=r", want: imds.TokenRequest{Resource: "r"}},
		"unknown parameters are let be":     {query: version + "&resource=r&bypass_cache=true&x", want: imds.TokenRequest{Resource: "r"}},
		"two selectors":                     {query: version + "&resource=r&client_id=C&object_id=O", wantErr: "client_id and object_id are both given"},
		"two names of one selector":         {query: version + "&resource=r&msi_res_id=a&mi_res_id=a", wantErr: "both given"},
		"a parameter twice":                 {query: version + "&resource=r&resource=s", wantErr: "resource is given twice"},
		"an empty selector":                 {query: version + "&resource=r&client_id=", wantErr: "client_id is empty"},
		"no resource":                       {query: version, wantErr: "Required query variable 'resource' is missing"},
		"no api-version":                    {query: "resource=r", wantErr: "Required query variable 'api-version' is missing"},
		"an old api-version":                {query: "api-version=2017-09-01&resource=r", wantErr: "not supported"},
		"an api-version that is no date":    {query: "api-version=latest&resource=r", wantErr: "not supported"},
		"a broken escape":                   {query: version + "&resource=%zz", wantErr: "cannot be decoded"},
		"a resource without end":            {query: version + "&resource=" + strings.Repeat("r", 2000), wantErr: "longer than 1024"},
		"an escaped name":                   {query: version + "&resource=r&client%5fid=C", wantErr: "cannot be decoded"},
		"a forwarded request":               {query: version + "&resource=r", headers: []string{"X-Forwarded-For"}, wantErr: "X-Forwarded-For is not allowed"},
		"a request that came by a proxy":    {query: version + "&resource=r", headers: []string{"Via"}, wantErr: "Via is not allowed"},
		"a request with the header RFC7239": {query: version + "&resource=r", headers: []string{"Forwarded"}, wantErr: "Forwarded is not allowed"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, imds.TokenPath+"?"+tc.query, nil)
			for _, h := range tc.headers {
				r.Header.Set(h, "1.2.3.4")
			}
			got, err := imds.ParseToken(r)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) || imds.Status(err) != 400 {
					t.Fatalf("ParseToken() = %v (status %d), want 400 and %q", err, imds.Status(err), tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ParseToken() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseTokenTakesNoOtherMethods(t *testing.T) {
	for _, method := range []string{"PUT", "HEAD", "DELETE"} {
		_, err := imds.ParseToken(httptest.NewRequest(method, imds.TokenPath+"?api-version=2018-02-01&resource=r", nil))
		if imds.Status(err) != 405 {
			t.Errorf("%s: status %d, want 405", method, imds.Status(err))
		}
	}
}

func TestTokenAnswerIsAllStringsAndNoneEmpty(t *testing.T) {
	now := time.Unix(1_700_000_000, 500)
	w := httptest.NewRecorder()
	const resource = "api://\"ü\\<\u2028" // what a client sends comes back as it was
	imds.WriteToken(w, imds.NewTokenResponse("eyJ", resource, now, now.Add(time.Hour), now))
	var got map[string]string // fails for anything but strings
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"access_token": "eyJ", "expires_in": "3600", "ext_expires_in": "3600", "expires_on": "1700003600",
		"not_before": "1700000000", "resource": resource, "token_type": "Bearer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", ct)
	}
}

func TestDecodeToken(t *testing.T) {
	tests := map[string]struct {
		body   string
		wantOn int64 // 0: an error
	}{
		"strings":           {`{"access_token":"a","expires_on":"1700000000","not_before":"1"}`, 1_700_000_000},
		"numbers":           {`{"access_token":"a","expires_on":1700000000}`, 1_700_000_000},
		"no token":          {`{"expires_on":"1700000000"}`, 0},
		"no expiry":         {`{"access_token":"a"}`, 0},
		"an expiry in text": {`{"access_token":"a","expires_on":"tomorrow"}`, 0},
		"no JSON":           {`<html>`, 0},
		"a token in quotes": {`{"access_token":"a\"b","expires_on":"1700000000"}`, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := imds.DecodeToken([]byte(tc.body))
			if (err != nil) != (tc.wantOn == 0) || (err == nil && got.ExpiresOn.Unix() != tc.wantOn) {
				t.Errorf("DecodeToken() = %v, %v; want %d", got.ExpiresOn, err, tc.wantOn)
			}
		})
	}
}

func TestWriteError(t *testing.T) {
	tests := map[string]struct {
		err        error
		wantStatus int
		wantBody   string
		wantAfter  string
	}{
		"a probe":            {imds.Errorf(imds.BadRequest, "Required metadata header not specified"), 400, `{"error":"invalid_request","error_description":"Required metadata header not specified"}`, ""},
		"a final denial":     {imds.Errorf(imds.Denied, "no label"), 400, `{"error":"invalid_request","error_description":"Identity not found: no label"}`, ""},
		"not yet":            {imds.Errorf(imds.NotReady, "wait"), 404, `{"error":"not_found","error_description":"wait"}`, ""},
		"too much":           {&imds.Error{Kind: imds.Overloaded, Description: "busy", RetryAfter: 1500 * time.Millisecond}, 429, `{"error":"too_many_requests","error_description":"busy"}`, "2"},
		"the cause stays in": {&imds.Error{Kind: imds.Unavailable, Description: "away", Err: errors.New("10.0.0.1: refused")}, 503, `{"error":"temporarily_unavailable","error_description":"away"}`, ""},
		"no kind":            {errors.New("a secret detail"), 500, `{"error":"server_error","error_description":"internal error"}`, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			imds.WriteError(w, tc.err)
			if w.Code != tc.wantStatus || w.Body.String() != tc.wantBody || w.Header().Get("Retry-After") != tc.wantAfter {
				t.Errorf("WriteError() = %d %s, Retry-After %q; want %d %s, %q", w.Code, w.Body, w.Header().Get("Retry-After"), tc.wantStatus, tc.wantBody, tc.wantAfter)
			}
		})
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("api-version=2018-02-01&resource=https://vault.azure.net&client_id=a")
	f.Add("api-version=2018-02-01&resource=r&client_id=a&object_id=b")
	f.Add("resource=%zz&&=&api-version=2018-02-01")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, imds.TokenPath, nil)
		r.URL.RawQuery = query
		got, err := imds.ParseToken(r)
		if err != nil {
			if s := imds.Status(err); s != 400 {
				t.Errorf("a bad query gives %d, want 400", s)
			}
			return
		}
		named := 0
		for _, s := range []string{got.Selector.ClientID, got.Selector.ObjectID, got.Selector.ResourceID} {
			if s != "" {
				named++
			}
		}
		if got.Resource == "" || named > 1 {
			t.Errorf("ParseToken(%q) = %+v: no resource, or more than one selector", query, got)
		}
	})
}
