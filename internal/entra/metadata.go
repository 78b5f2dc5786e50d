package entra

import (
	"context"
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

const (
	// metadataTimeout bounds one request for metadata, its wait for a turn included.
	metadataTimeout = 20 * time.Second
	// metadataWaiting bounds the requests for metadata that wait for their turn or
	// their answer. Where answers are quick, the last turn comes after four seconds.
	metadataWaiting = 16
)

var metadataPath = regexp.MustCompile(`^/metadata(/[a-z0-9]+)+$`)

// Metadata gets a page of metadata: a GET for path and query, which the caller
// rebuilt from what it understood. The path is in lower case and without
// anything that could mean another one. An answer that is not 200 is an answer
// too; errors are about getting none: *token.Error, of kind Busy when too many
// requests wait already, or ctx's.
func (s *IMDS) Metadata(ctx context.Context, path string, query url.Values) (imds.Answer, error) {
	if !metadataPath.MatchString(path) || (strings.HasPrefix(path, "/metadata/identity") && path != tenantPath) {
		return imds.Answer{}, &token.Error{Kind: token.Rejected, Err: fmt.Errorf("%q is no path of metadata", path)}
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return imds.Answer{}, &token.Error{
			Kind: token.Busy, RetryAfter: 2 * time.Second,
			Err: fmt.Errorf("%d requests for metadata are waiting already: IMDS takes few, and this node sends it at most %d a second", metadataWaiting, pagesPerSecond),
		}
	}
	return s.page(ctx, s.turns.takePage, path, query)
}

// page gets a page of metadata when it is its turn, which take waits for.
func (s *IMDS) page(caller context.Context, take func(context.Context) (func(), error), path string, query url.Values) (imds.Answer, error) {
	ctx, cancel := context.WithTimeout(caller, metadataTimeout)
	defer cancel()
	end, err := take(ctx)
	switch {
	case err != nil && ctx.Err() != nil && caller.Err() == nil: // the end is not the caller's
		return imds.Answer{}, &token.Error{Kind: token.Unavailable, Err: err}
	case err != nil:
		return imds.Answer{}, err
	}
	defer end()
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
