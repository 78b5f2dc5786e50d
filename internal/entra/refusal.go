package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/podid-io/podid/internal/token"
)

// refusal turns an error of azidentity into one with a kind and without the
// credential. Texts of Entra ID for known codes give way to what to do about
// them.
func refusal(ctx context.Context, r *token.Request, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask Entra ID: %w", ctx.Err())
	}
	failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	if !ok || failed.RawResponse == nil {
		return &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("ask Entra ID at %s: %s", r.Authority, presentable(err.Error(), r.Credential))}
	}
	resp := failed.RawResponse
	body, err := runtime.Payload(resp)
	if err != nil {
		return &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("read the answer of Entra ID at %s: %w", r.Authority, err)}
	}
	var answer struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON has no codes, and its status says the rest
	e := &token.Error{Kind: kindOf(resp.StatusCode, answer.Codes), RetryAfter: retryAfter(resp)}
	what := presentable(strings.TrimSpace(answer.Error+" "+answer.Description), r.Credential)
	for _, code := range answer.Codes {
		if hint := hintFor(code, r); hint != "" {
			what = fmt.Sprintf("AADSTS%d: %s", code, hint)
			break
		}
	}
	e.Err = fmt.Errorf("sign-in at %s was answered with %d: %s", r.Authority, resp.StatusCode, what)
	return e
}

// kindOf is what an answer means: a 4xx is final unless it asks to come back.
func kindOf(status int, codes []int) token.Kind {
	for _, code := range codes {
		switch code {
		case 50196, 90033, 90055: // a loop of requests, a transient error, throttled
			return token.Unavailable
		}
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status < 400, status >= 500:
		return token.Unavailable
	default:
		return token.Rejected
	}
}

// hintFor says what to do about an AADSTS code, empty for one that is not known.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func hintFor(code int, r *token.Request) string {
	app := "application " + r.ClientID
	switch code {
	case 7000215:
		return "the client secret of " + app + " is wrong: write its value, not its id, into the Secret"
	case 7000222:
		return "the client secret of " + app + " has expired: make a new one and write it into the Secret"
	case 7000216:
		return app + " sent neither a secret nor a certificate"
	case 700016:
		return app + " is not in the tenant " + r.TenantID + ": check clientID and tenantID"
	case 700027:
		return "the certificate is not among those registered for " + app + ", or has expired: upload its public part to the application"
	case 700024:
		return "the sign-in of " + app + " came outside of its validity: check the clock of the node"
	case 90002:
		return "the tenant " + r.TenantID + " does not exist in this cloud: check tenantID and adEndpoint"
	case 500011, 50001:
		return "the resource " + strconv.Quote(r.Resource) + " is not known in the tenant " + r.TenantID + ": check its spelling, the slash at its end among it"
	case 70011, 1002012, 28002:
		return "the resource " + strconv.Quote(r.Resource) + " is not one that tokens can be asked for"
	case 7000112:
		return app + " is disabled"
	case 53003:
		return "a conditional access policy blocks " + app
	default:
		return ""
	}
}

// retryAfter reads the header in either of its forms.
func retryAfter(resp *http.Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// longestText and longestWord bound what of a foreign text is shown. A word that
// is longer than any in a sentence could be an assertion or a token.
const (
	longestText = 400
	longestWord = 100
)

// presentable is a foreign text without the credential, on one line.
func presentable(text string, c *token.Credential) string {
	if c != nil {
		for _, secret := range []token.Secret{c.ClientSecret, c.Password, c.Certificate} {
			if secret == "" {
				continue
			}
			for _, form := range []string{string(secret), url.QueryEscape(string(secret))} {
				text = strings.ReplaceAll(text, form, "[redacted]")
			}
		}
	}
	text, _, _ = strings.Cut(text, " Trace ID:")
	words := strings.Fields(text)
	for i, w := range words {
		if len(w) > longestWord {
			words[i] = "[redacted]"
		}
	}
	text = strings.Join(words, " ")
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "") + "…"
	}
	return text
}
