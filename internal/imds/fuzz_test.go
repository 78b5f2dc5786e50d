package imds_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/podid-io/podid/internal/imds"
)

// sound reports what a parsed token request must never be: without a resource,
// or with more than one identity named.
func sound(t *testing.T, r imds.TokenRequest) {
	t.Helper()
	named := 0
	for _, s := range []string{r.Selector.ClientID, r.Selector.ObjectID, r.Selector.ResourceID} {
		if s != "" {
			named++
		}
	}
	if r.Resource == "" || named > 1 || (r.Capabilities != "" && r.Capabilities != "cp1") || (r.Refused != "" && len(r.Refused) != 64) {
		t.Errorf("%+v has no resource, several identities, or words that nobody defined", r)
	}
}

// refusal checks that what is refused is the client's fault.
func refusal(t *testing.T, err error) {
	t.Helper()
	if s := imds.Status(err); s < 400 || s > 499 {
		t.Errorf("a bad request gives %d (%v)", s, err)
	}
}

func FuzzParseTokenForm(f *testing.F) {
	f.Add("", "resource=https://vault.azure.net&client_id=a", "application/x-www-form-urlencoded")
	f.Add("client_id=a", "client_id=b&resource=r", "application/x-www-form-urlencoded; charset=utf-8")
	f.Add("api-version=2018-02-01&resource=r", "resource=s", "application/json")
	f.Add("", "resource=%zz", "application/x-www-form-urlencoded")
	f.Add("resource=r", strings.Repeat("a", 9<<10), "")
	f.Fuzz(func(t *testing.T, query, form, kind string) {
		r := httptest.NewRequest(http.MethodPost, imds.TokenPath, strings.NewReader(form))
		r.URL.RawQuery = query
		r.Header["Content-Type"] = []string{kind}
		got, err := imds.ParseToken(r)
		if err != nil {
			refusal(t, err)
			return
		}
		sound(t, got)
		// What is in the form means what it means in the query.
		again := httptest.NewRequest(http.MethodPost, imds.TokenPath, http.NoBody)
		again.URL.RawQuery = query + "&" + form
		if same, err := imds.ParseToken(again); err != nil || same != got {
			t.Errorf("the form gives %+v, the same as a query %+v, %v", got, same, err)
		}
	})
}

func FuzzParseHostToken(f *testing.F) {
	f.Add("resource=https://vault.azure.net&client_id=a", "team", "web")
	f.Add("resource=r&tenant_id=T", "", "web")
	f.Add("resource=%zz&&=&", "a\nb", "../x")
	f.Fuzz(func(t *testing.T, query, namespace, pod string) {
		r := httptest.NewRequest(http.MethodGet, "/host/token", nil)
		r.URL.RawQuery = query
		r.Header["Podns"], r.Header["Podname"] = []string{namespace}, []string{pod}
		got, err := imds.ParseHostToken(r)
		if err != nil {
			refusal(t, err)
			return
		}
		sound(t, got.TokenRequest)
		if got.Namespace != namespace || got.Pod != pod || namespace == "" || pod == "" {
			t.Errorf("pod %q/%q is read as %q/%q", namespace, pod, got.Namespace, got.Pod)
		}
	})
}

// FuzzParseMetadata holds what is passed on to what was classified, and to the
// parameters that are documented.
func FuzzParseMetadata(f *testing.F) {
	f.Add("/metadata/instance", "api-version=2021-02-01&format=json")
	f.Add("/metadata/instance/compute/userData", "API-Version=1&api-version=2")
	f.Add("//metadata/Attested/document/", "nonce=1&nonce=2")
	f.Add("/metadata/scheduledevents/../identity/oauth2/token", "x=%zz")
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery, r.RequestURI = path, query, path+"?"+query
		r.Header.Set("Metadata", "true")
		route := imds.Classify(r)
		got, err := imds.ParseMetadata(r)
		if err != nil {
			refusal(t, err)
			return
		}
		if (route == imds.PassThrough) != (got.Family != "") {
			t.Errorf("%q is of family %q, and classified as %d", path, got.Family, route)
		}
		if got.Family != "" && !strings.HasPrefix(got.Path, "/metadata/") {
			t.Errorf("%q would be passed on as %q", path, got.Path)
		}
		if strings.ContainsAny(got.Path, `%\;`) || strings.Contains(got.Path, "//") || strings.Contains(got.Path, "/.") {
			t.Errorf("%q would be passed on as %q", path, got.Path)
		}
		for name, values := range got.Query {
			switch name {
			case "api-version", "format", "nonce", "extended":
			default:
				t.Errorf("the parameter %q would be passed on", name)
			}
			if len(values) != 1 {
				t.Errorf("%s would be passed on as %q", name, values)
			}
		}
	})
}

// FuzzHideUserData looks for user data with another parser than the one that
// hides it.
func FuzzHideUserData(f *testing.F) {
	f.Add([]byte(`{"compute": {"userData": "c2VjcmV0", "vmId": "1"}}`))
	f.Add([]byte(`[{"CUSTOMDATA": {"a": "c2VjcmV0"}}, 1e400, 12345678901234567890]`))
	f.Add([]byte(`{"userdata": "a", "userdata": "b"} {"userData": "c"}`))
	f.Add([]byte(`{"user\u0064ata": "a", "userDat\u212a": 1}`))
	f.Add([]byte(`"userData"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out, ok := imds.HideUserData(body)
		if !ok {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q becomes %q, which is no JSON", body, out)
		}
		tokens := json.NewDecoder(bytes.NewReader(out))
		hidden := false // the value of such a field comes next
		for {
			token, err := tokens.Token()
			if err != nil {
				return
			}
			word, isWord := token.(string)
			if hidden && (!isWord || word != "") {
				t.Fatalf("%q becomes %q: %v is not hidden", body, out, token)
			}
			hidden = isWord && !hidden && (strings.EqualFold(word, "userdata") || strings.EqualFold(word, "customdata")) && isField(tokens, out)
		}
	})
}

// isField reports whether what the decoder read last is the name of a field.
func isField(tokens *json.Decoder, text []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(text[tokens.InputOffset():], " "), []byte(":"))
}
