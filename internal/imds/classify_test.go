package imds_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/podid-io/podid/internal/imds"
)

// wire reads a request as net/http does from a connection.
func wire(t *testing.T, target string, headers ...string) *http.Request {
	t.Helper()
	raw := "GET " + target + " HTTP/1.1\r\nHost: 169.254.169.254\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", target, err)
	}
	return r
}

func TestClassify(t *testing.T) {
	const metadata = "Metadata: true"
	tests := map[string]struct {
		target  string
		headers []string
		want    imds.Route
	}{
		"the path as every SDK spells it":             {"/metadata/identity/oauth2/token?resource=x", []string{metadata}, imds.TokenRoute},
		"a trailing slash, as JavaScript sends":       {"/metadata/identity/oauth2/token/?resource=x", []string{metadata}, imds.TokenRoute},
		"two leading slashes, as Java sends":          {"//metadata/identity/oauth2/token?resource=x", []string{metadata}, imds.TokenRoute},
		"any case of the path":                        {"/Metadata/Identity/OAuth2/Token", []string{metadata}, imds.TokenRoute},
		"any case of the header's name":               {"/metadata/identity/oauth2/token", []string{"METADATA: true"}, imds.TokenRoute},
		"a probe without the header":                  {"/metadata/identity/oauth2/token", nil, imds.Probe},
		"a probe with a query":                        {"/metadata/identity/oauth2/token?resource=x&api-version=2018-02-01", nil, imds.Probe},
		"the header's value in another case":          {"/metadata/identity/oauth2/token", []string{"Metadata: True"}, imds.Probe},
		"the header twice":                            {"/metadata/identity/oauth2/token", []string{metadata, metadata}, imds.Probe},
		"the host endpoint":                           {"/host/token/", nil, imds.HostToken},
		"instance metadata":                           {"/metadata/instance?api-version=2021-02-01", []string{metadata}, imds.PassThrough},
		"instance metadata below":                     {"/metadata/instance/compute", []string{metadata}, imds.PassThrough},
		"identity info":                               {"/metadata/identity/info", []string{metadata}, imds.Info},
		"the folder of the token":                     {"/metadata/identity/oauth2", []string{metadata}, imds.NotFound},
		"the folder of identities":                    {"/metadata/identity/", []string{metadata}, imds.NotFound},
		"IMDSv2's probe, without the header":          {"/metadata/identity/getplatformmetadata?cred-api-version=2.0", nil, imds.NotFound},
		"IMDSv2's credential":                         {"/metadata/identity/issuecredential", []string{metadata}, imds.NotFound},
		"a longer path, which NMI took for a token":   {"/metadata/identity/oauth2/tokenXYZ", []string{metadata}, imds.NotFound},
		"an escaped slash":                            {"/metadata%2Fidentity/oauth2/token", []string{metadata}, imds.NotFound},
		"an escaped letter":                           {"/metadata/identity/oauth2/%74oken", []string{metadata}, imds.NotFound},
		"an escaped letter of a family":               {"/metadata/%69nstance", []string{metadata}, imds.NotFound},
		"a family, then dot segments to the identity": {"/metadata/instance/../identity/oauth2/token", []string{metadata}, imds.NotFound},
		"a family, then escaped dots":                 {"/metadata/instance/%2e%2e/identity/oauth2/token", []string{metadata}, imds.NotFound},
		"a backslash, as in CVE-2022-23551":           {`/metadata/identity\oauth2/token`, []string{metadata}, imds.NotFound},
		"a backslash behind a family":                 {`/metadata/instance\..\identity/oauth2/token`, []string{metadata}, imds.NotFound},
		"a semicolon":                                 {"/metadata/identity;x/oauth2/token", []string{metadata}, imds.NotFound},
		"the root":                                    {"/", []string{metadata}, imds.NotFound},
		"a family without metadata":                   {"/instance", []string{metadata}, imds.NotFound},
		"the absolute form":                           {"http://169.254.169.254/metadata/identity/oauth2/token", []string{metadata}, imds.NotFound},
		"GCP's path":                                  {"/computeMetadata/v1/instance/service-accounts/default/token", nil, imds.NotFound},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := imds.Classify(wire(t, tc.target, tc.headers...)); got != tc.want {
				t.Errorf("Classify(%s) = %d, want %d", tc.target, got, tc.want)
			}
		})
	}
}

// FuzzClassify holds the one invariant that matters: nothing that any server
// could read as a path under /metadata/identity is ever passed through.
func FuzzClassify(f *testing.F) {
	for _, seed := range []string{
		"/metadata/identity/oauth2/token", "/metadata/instance/../identity/oauth2/token", "/metadata/instance%2f..%2fidentity",
		`/metadata/instance\..\identity`, "/metadata/%2569dentity", "//metadata//instance//compute", "/metadata/instance/identity",
		"/METADATA/INSTANCE", "/metadata/versions/", "/metadata/instance;/../identity", "/metadata/instance/.%2e/identity/oauth2/token",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: x\r\nMetadata: true\r\n\r\n")))
		if err != nil {
			return
		}
		switch route := imds.Classify(r); route {
		case imds.PassThrough:
			if reading, bad := identityPath(target); bad {
				t.Errorf("%q is passed through, but can be read as %q", target, reading)
			}
		case imds.TokenRoute:
			if reading, ok := identityPath(target); !ok {
				t.Errorf("%q is a token request, but reads as %q", target, reading)
			}
		case imds.NotFound, imds.Probe, imds.HostToken, imds.Info:
		default:
			t.Errorf("Classify(%q) = %d, which is no route", target, route)
		}
	})
}

// identityPath reads a path as the laxest of servers could (unescaped as often
// as it goes, backslashes turned, dots resolved, parameters cut) and reports
// whether any reading lies under /metadata/identity.
func identityPath(target string) (string, bool) {
	path, _, _ := strings.Cut(target, "?")
	for range 6 {
		p := strings.ToLower(strings.ReplaceAll(path, `\`, "/"))
		var segments []string
		for s := range strings.SplitSeq(p, "/") {
			s, _, _ = strings.Cut(s, ";")
			switch s {
			case "", ".":
			case "..":
				segments = segments[:max(0, len(segments)-1)]
			default:
				segments = append(segments, s)
			}
		}
		reading := "/" + strings.Join(segments, "/")
		if reading == "/metadata/identity" || strings.HasPrefix(reading, "/metadata/identity/") {
			return reading, true
		}
		next, err := url.PathUnescape(path)
		if err != nil || next == path {
			return reading, false
		}
		path = next
	}
	return path, false
}
