// Package entra gets tokens from Azure: for managed identities from the real
// instance metadata service of the node, for applications from Entra ID. It is
// the only package that knows the Azure SDK's pipeline and credentials.
package entra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

// longestAnswer bounds what is read of an answer.
const longestAnswer = 1 << 20

// IMDSConfig says where the instance metadata service is.
type IMDSConfig struct {
	// Endpoint is its scheme and host. The default is http://169.254.169.254.
	Endpoint *url.URL
}

// IMDS is a token.Source for managed identities: the metadata service of the
// node. It tries once for each call and leaves freshness, retries and the limits
// of the service to its caller, token.Cache. Requests never use a proxy and
// follow no redirect.
type IMDS struct {
	endpoint string
	pipeline runtime.Pipeline
	turns    turns         // of requests for metadata, one of which pages leave to the tenant's
	waiting  chan struct{} // a place of each of them, but for the tenant's
	tenant   *tenant
	idle     func()
}

var _ token.Source = (*IMDS)(nil)

// NewIMDS makes the source. It fails for an endpoint that is not plain http.
func NewIMDS(c IMDSConfig) (*IMDS, error) {
	endpoint := c.Endpoint
	if endpoint == nil {
		endpoint = &url.URL{Scheme: "http", Host: "169.254.169.254"}
	}
	if endpoint.Scheme != "http" || endpoint.Host == "" || endpoint.Path != "" || endpoint.RawQuery != "" || endpoint.User != nil {
		return nil, fmt.Errorf("metadata endpoint %q: write http://HOST or http://HOST:PORT", endpoint)
	}
	client := &http.Client{
		Transport: &http.Transport{ // no Proxy: the metadata service is never behind one
			DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			ResponseHeaderTimeout: 20 * time.Second,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s := &IMDS{
		endpoint: endpoint.String(),
		turns:    newTurns(),
		waiting:  make(chan struct{}, metadataWaiting),
		pipeline: runtime.NewPipeline("podid", "v1", runtime.PipelineOptions{}, &policy.ClientOptions{
			Transport: client,
			Retry:     policy.RetryOptions{MaxRetries: -1},
			Telemetry: policy.TelemetryOptions{Disabled: true},
		}),
		idle: client.CloseIdleConnections,
	}
	s.tenant = newTenant(s.fetchTenant)
	return s, nil
}

// Close closes the connections that nobody uses.
func (s *IMDS) Close() { s.idle() }

// Token asks for a token of a managed identity: by client id where there is
// one, else by resource id, else by object id, and for the VM's own only when
// asked for that. Its errors are *token.Error, or ctx's.
func (s *IMDS) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	if r.Type != v1.UserAssignedMSI {
		return token.Token{}, &token.Error{Kind: token.Rejected, Err: fmt.Errorf("identity type %d is not a managed identity", r.Type)}
	}
	if r.ResourceID == "" && r.ClientID == "" && r.ObjectID == "" && !r.VM {
		return token.Token{}, &token.Error{Kind: token.Rejected, Err: errors.New("the identity has neither a client id nor a resource id")}
	}
	req, err := s.request(ctx, r)
	if err != nil {
		return token.Token{}, err
	}
	resp, err := s.pipeline.Do(req)
	if err != nil {
		return token.Token{}, &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("ask IMDS: %w", err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer))
	if err != nil {
		return token.Token{}, &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("read the answer of IMDS: %w", err)}
	}
	if resp.StatusCode != http.StatusOK {
		return token.Token{}, failure(resp, body)
	}
	t, err := imds.DecodeToken(body)
	if err != nil {
		return token.Token{}, &token.Error{Kind: token.Unavailable, Err: err}
	}
	if r.ClientID != "" && t.ClientID != "" && !strings.EqualFold(r.ClientID, t.ClientID) {
		return token.Token{}, &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("IMDS was asked for the client id %q and answered with the token of %q", r.ClientID, t.ClientID)}
	}
	return token.Token{
		Value: token.Secret(t.AccessToken), ClientID: t.ClientID, NotBefore: t.NotBefore, ExpiresOn: t.ExpiresOn,
	}, nil
}

func (s *IMDS) request(ctx context.Context, r *token.Request) (*policy.Request, error) {
	req, err := runtime.NewRequest(ctx, http.MethodGet, s.endpoint+imds.TokenPath)
	if err != nil {
		return nil, fmt.Errorf("make the request to IMDS: %w", err)
	}
	runtime.SkipBodyDownload(req) // or it is read without a limit
	q := url.Values{"api-version": {imds.APIVersion}, "resource": {r.Resource}}
	switch {
	case r.ClientID != "":
		q.Set("client_id", r.ClientID)
	case r.ResourceID != "":
		q.Set("msi_res_id", r.ResourceID)
	case r.ObjectID != "":
		q.Set("object_id", r.ObjectID)
	}
	if r.Capabilities != "" {
		q.Set("xms_cc", r.Capabilities)
	}
	if r.Refused != "" {
		q.Set("token_sha256_to_refresh", r.Refused)
	}
	req.Raw().URL.RawQuery = q.Encode()
	req.Raw().Header.Set("Metadata", "true")
	return req, nil
}

// failure turns an answer that is not 200 into an error with a kind, by the
// documented meanings of IMDS's statuses.
func failure(resp *http.Response, body []byte) error {
	description := imds.DecodeError(body)
	e := &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("IMDS answered %d: %s", resp.StatusCode, description), RetryAfter: retryAfter(resp)}
	switch {
	case resp.StatusCode == http.StatusBadRequest && imds.IsIdentityNotFound(description):
		e.Kind = token.NotThere
	case resp.StatusCode == http.StatusTooManyRequests && e.RetryAfter == 0:
		e.RetryAfter = time.Second // its limits are per second, and it need not say so
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && !transient(resp.StatusCode):
		e.Kind = token.Rejected
	}
	return e
}

// transient is a 4xx by which IMDS asks to come back.
func transient(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return true
	default:
		return false
	}
}
