package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

// metadataPerSecond is the documented limit of IMDS for everything but tokens,
// per VM: https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#rate-limiting
const metadataPerSecond = 5

const (
	// metadataTimeout bounds one request for metadata, its wait for a turn included.
	metadataTimeout = 20 * time.Second
	// tenantTTL is how long the tenant is remembered. It hardly ever changes.
	tenantTTL = time.Hour
)

// tenantPath is the one page about identity that is no token's business.
const tenantPath = "/metadata/identity/info"

var metadataPath = regexp.MustCompile(`^/metadata(/[a-z0-9]+)+$`)

// Metadata gets a page of metadata: a GET for path and query, which the caller
// rebuilt from what it understood. The path is in lower case and without
// anything that could mean another one. An answer that is not 200 is an answer
// too; errors are about getting none.
func (s *IMDS) Metadata(ctx context.Context, path string, query url.Values) (imds.Answer, error) {
	if !metadataPath.MatchString(path) || (strings.HasPrefix(path, "/metadata/identity") && path != tenantPath) {
		return imds.Answer{}, &token.Error{Kind: token.Rejected, Err: fmt.Errorf("%q is no path of metadata", path)}
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	if err := s.pages.Wait(ctx); err != nil {
		return imds.Answer{}, &token.Error{Kind: token.Unavailable, Err: errors.New("too many requests for metadata are waiting")}
	}
	req, err := runtime.NewRequest(ctx, http.MethodGet, s.endpoint+path)
	if err != nil {
		return imds.Answer{}, fmt.Errorf("make the request to IMDS: %w", err)
	}
	runtime.SkipBodyDownload(req) // or it is read without a limit
	req.Raw().URL.RawQuery = query.Encode()
	req.Raw().Header.Set("Metadata", "true")
	resp, err := s.pipeline.Do(req)
	if err != nil {
		return imds.Answer{}, &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("ask IMDS: %w", err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer+1))
	if err != nil {
		return imds.Answer{}, &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("read the answer of IMDS: %w", err)}
	}
	if len(body) > longestAnswer {
		return imds.Answer{}, &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("the answer of IMDS is longer than %d bytes", longestAnswer)}
	}
	return imds.Answer{
		Status: resp.StatusCode, Body: body,
		ContentType: resp.Header.Get("Content-Type"), RetryAfter: resp.Header.Get("Retry-After"),
	}, nil
}

// Tenant is the tenant of the VM's subscription, as IMDS tells it. It is
// remembered for an hour.
func (s *IMDS) Tenant(ctx context.Context) (string, error) {
	s.mu.Lock()
	known, fresh := s.tenant, time.Since(s.tenantAt) < tenantTTL
	s.mu.Unlock()
	if known != "" && fresh {
		return known, nil
	}
	answer, err := s.Metadata(ctx, tenantPath, url.Values{"api-version": {imds.APIVersion}})
	if err != nil {
		return "", err
	}
	var info struct {
		TenantID string `json:"tenantId"`
	}
	if err := json.Unmarshal(answer.Body, &info); err != nil || answer.Status != http.StatusOK || info.TenantID == "" {
		return "", &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("IMDS answered %d without a tenant", answer.Status)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenant, s.tenantAt = info.TenantID, time.Now()
	return info.TenantID, nil
}
