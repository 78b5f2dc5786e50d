package node_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/docs"
	"github.com/podid-io/podid/test/localcluster"
)

// What the pages ask their readers for, and the tests say.
const (
	docsVersion = "0.1.0"
	docsRoot    = "../.."
	toolsImage  = "registry.example/tools:1" // sleep and curl

	operator       = "99999999-0000-0000-0000-000000000001" // signs in for podid roles
	operatorObject = "99999999-0000-0000-0000-000000000002"
	operatorSecret = "the operator's"
)

// longestPage is how long the commands of one page may take.
const longestPage = 8 * time.Minute

// prepareDocs compiles what the pages run.
func prepareDocs(ctx context.Context, root string) error {
	kubectl, err := localcluster.BuildKubectl(ctx, os.Stderr)
	if err != nil {
		return err
	}
	return docs.Programs(ctx, root, filepath.Join(root, preparedFolder, "docs"), kubectl)
}

// TestDocs runs the pages that need pods which run, with everything on them but
// what is for the reader's own machine.
func TestDocs(t *testing.T) {
	pages, err := docs.Read(docsRoot)
	if err != nil {
		t.Fatal(err)
	}
	pages = slices.DeleteFunc(pages, func(p docs.Page) bool { return !p.Has(docs.Node) })
	if len(pages) == 0 {
		t.Fatal("no page has a block of sh node")
	}
	w, env := docsWorld(t)
	for i, p := range pages {
		ok := t.Run(p.Path, func(t *testing.T) {
			session := docs.Session{
				Clone: docsRoot, Dir: t.TempDir(), Env: env, Kinds: []docs.Kind{docs.Shell, docs.Yours, docs.Azure, docs.Node},
				Yours: map[string]string{"GROUP": "podid-demo", "REGISTRY": "podid-io", "VERSION": docsVersion, "IMAGE": toolsImage, "MIC_CLIENT_ID": micClient},
			}
			if err := docs.View(docsRoot, absolute(t, prepared("docs", "real")), session.Dir); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), longestPage)
			defer cancel()
			said, err := session.Run(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s\n%s", docs.Count(p), withoutTokens(said))
		})
		if !ok {
			w.tellTrouble(t)
			for _, p := range pages[i+1:] {
				t.Errorf("%s was not run: what the page before it has left may be in its way", p.Path)
			}
			return
		}
		sweepPage(t, session(env), p)
	}
}

// session is an environment for commands of the test's own.
func session(env []string) func(ctx context.Context, args ...string) ([]byte, error) {
	return func(ctx context.Context, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, prepared("docs", "kubectl"), args...)
		cmd.Env = append(os.Environ(), env...)
		return cmd.CombinedOutput()
	}
}

// sweepPage removes what a page leaves for the next.
func sweepPage(t *testing.T, kubectl func(context.Context, ...string) ([]byte, error), p docs.Page) {
	t.Helper()
	for _, args := range [][]string{
		{"delete", "namespace", systemNamespace, "aad-pod-identity", "--ignore-not-found", "--timeout=2m"},
		{"delete", "-f", docsRoot + "/deploy/crds.yaml", "--ignore-not-found", "--timeout=1m"},
	} {
		if out, err := kubectl(t.Context(), args...); err != nil {
			t.Errorf("after %s: kubectl %s: %v\n%s", p.Path, strings.Join(args, " "), err, out)
		}
	}
}

// withoutTokens leaves tokens out of what a page has printed.
func withoutTokens(said string) string {
	var b strings.Builder
	for line := range strings.Lines(said) {
		if strings.Contains(line, `"access_token"`) {
			line = "(a token)\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// docsWorld starts nodes beside an Azure that asks for roles, and returns the
// environment of who follows a page.
func docsWorld(t *testing.T) (*world, []string) {
	t.Helper()
	w := &world{dir: t.TempDir()}
	endpoint := "https://" + localcluster.FabricAddress + ":8443"
	cloud := marshal(t, map[string]any{
		"name": "AzureStackCloud", "resourceManagerEndpoint": endpoint + "/", "activeDirectoryEndpoint": endpoint + "/",
		"tokenAudience": "https://management.azure.com/",
	})
	azure := marshal(t, map[string]any{"cloud": "AzureStackCloud", "tenantId": tenant, "useManagedIdentityExtension": true, "userAssignedIdentityID": micClient})
	w.start(t, localcluster.FullConfig{
		Dir: w.dir, Images: append(docsImages(t), clientImages(t), toolImages(t)), Progress: os.Stderr,
		Files:    map[string][]byte{"/etc/kubernetes/azure.json": azure, "/etc/podid-docs/cloud.json": cloud},
		Machines: []localcluster.MachineConfig{machineConfig(0), machineConfig(1)},
	})
	transport, err := rest.TransportFor(w.full.REST())
	if err != nil {
		t.Fatal(err)
	}
	w.serveAzure(t, azemu.Config{EnforceRoles: true, Issuers: &http.Client{Transport: transport, Timeout: 10 * time.Second}, Seed: azemu.State{
		Tenant:          tenant,
		Apps:            []azemu.App{{ClientID: operator, ObjectID: operatorObject, Secrets: []string{operatorSecret}}},
		RoleAssignments: []azemu.RoleAssignment{{Scope: strings.Join(strings.Split(group, "/")[:3], "/"), PrincipalID: operatorObject, Role: "Owner"}},
	}})
	ca, err := w.azure.CA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	values := marshal(t, map[string]any{
		"azure": map[string]any{"cloud": "AzureStackCloud"}, "caBundle": string(ca),
		"mic": map[string]any{"customCloud": map[string]any{"enabled": true, "configPath": "/etc/podid-docs/cloud.json"}},
	})
	files := map[string][]byte{"ca.pem": ca, "cloud.json": cloud, "values.json": values}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w, append(docs.Environment(absolute(t, prepared("docs"))),
		"KUBECONFIG="+w.full.Kubeconfig(), "DOCS_VALUES="+filepath.Join(w.dir, "values.json"),
		"DOCS_AZURE=http://"+localcluster.FabricAddress+":8444", "DOCS_SCALE_SET="+scaleSet, "DOCS_ISSUER="+w.full.REST().Host,
		"SSL_CERT_FILE="+filepath.Join(w.dir, "ca.pem"), "AZURE_ENVIRONMENT_FILEPATH="+filepath.Join(w.dir, "cloud.json"),
		"AZURE_TENANT_ID="+tenant, "AZURE_CLIENT_ID="+operator, "AZURE_CLIENT_SECRET="+operatorSecret,
	)
}

// docsImages are podid's images by the version that stands on the pages.
func docsImages(t *testing.T) (files []string) {
	t.Helper()
	for _, name := range []string{"mic", "nmi", "podid"} {
		files = append(files, absolute(t, prepared(docsVersion, name+"-"+runtime.GOARCH+".tar")))
	}
	return files
}

// toolImages is the archive of an image with sleep and curl.
func toolImages(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile(prepared("tools"))
	if err != nil {
		t.Fatal(err)
	}
	var layer, archive bytes.Buffer
	files := tar.NewWriter(&layer)
	for _, name := range []string{"bin/sleep", "bin/curl"} {
		add(t, files, name, 0o755, program)
	}
	closed(t, files)
	sum := sha256.Sum256(layer.Bytes())
	w := tar.NewWriter(&archive)
	add(t, w, "layer.tar", 0o644, layer.Bytes())
	add(t, w, "config.json", 0o644, marshal(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	}))
	add(t, w, "manifest.json", 0o644, marshal(t, []any{map[string]any{
		"Config": "config.json", "Layers": []string{"layer.tar"}, "RepoTags": []string{toolsImage},
	}}))
	closed(t, w)
	file := filepath.Join(t.TempDir(), fmt.Sprintf("%x.tar", sum[:4]))
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
