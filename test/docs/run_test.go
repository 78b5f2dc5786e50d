package docs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid-io/podid/test/docs"
	"github.com/podid-io/podid/test/localcluster"
)

// longest is how long the commands of one page may take before they count as stuck.
const longest = 10 * time.Minute

// TestCommandsRun runs the commands of every page, each page in a world of its
// own. What needs pods that run is for test/node.
func TestCommandsRun(t *testing.T) {
	kinds := []docs.Kind{docs.Shell, docs.Yours, docs.Azure, docs.Machine}
	for _, p := range pages(t) {
		if !p.Has(kinds...) {
			continue
		}
		t.Run(p.Path, func(t *testing.T) {
			w := newWorld(t)
			session := docs.Session{Clone: root, Dir: t.TempDir(), Kinds: kinds, Env: w.env}
			if err := docs.View(root, w.bin(t), session.Dir); err != nil {
				t.Fatal(err)
			}
			endDemo(t, session)
			ctx, cancel := context.WithTimeout(t.Context(), longest)
			defer cancel()
			said, err := session.Run(ctx, p)
			switch {
			case err != nil && noNetworks(err):
				t.Skip(err)
			case err != nil:
				t.Fatal(err)
			}
			t.Logf("%s\n%s", docs.Count(p), said)
		})
	}
	t.Log(docs.Count(pages(t)...))
}

// noNetworks says whether a page ended where the local cluster says that the
// kernel gives no network namespaces: as all tests do that need some, it is
// skipped then.
func noNetworks(err error) bool {
	return os.Getenv("PODID_REQUIRE_NETNS") != "1" && strings.Contains(err.Error(), localcluster.ErrUnsupported.Error())
}

// endDemo ends the local cluster that a page has left running.
func endDemo(t *testing.T, s docs.Session) {
	t.Helper()
	t.Cleanup(func() {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join("bin", "podid"), "demo", "down")
		cmd.Dir = s.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("podid demo down: %v\n%s", err, out)
		}
	})
}

// TestObjectsAreTaken has a real API server look at the objects of every page as
// strictly as it can, and helm at values.
func TestObjectsAreTaken(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"apply", "--server-side", "-f", root + "/deploy/crds.yaml"}, {"wait", "--for=condition=Established", "--all", "crd"}, {"apply", "--server-side", "-f", root + "/config/policy"}} {
		if out, err := w.kubectl(t, "", args...); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, p := range pages(t) {
		for _, b := range p.Blocks {
			var err error
			switch k, _ := b.Kind(); k {
			case docs.Objects:
				err = w.strictly(t, b.Text)
			case docs.Values:
				err = w.values(t, b.Text)
			case docs.Foreign:
				err = wellFormed(b.Text)
			default: // others are not objects
			}
			if err != nil {
				t.Errorf("%s:%d: %v", p.Path, b.Line, err)
			}
		}
	}
}

// bothSignIn has an application sign in by the secrets A and B.
const bothSignIn = `ENTRA=$(sed 's/.*"activeDirectoryEndpoint":"\([^"]*\)".*/\1/' $AZURE_ENVIRONMENT_FILEPATH)
for SECRET in $A $B; do
  curl -s -f --cacert $SSL_CERT_FILE -o /dev/null $ENTRA$AZURE_TENANT_ID/oauth2/v2.0/token -d grant_type=client_credentials \
    -d client_id=$APP -d client_secret=$SECRET -d scope=https://management.azure.com/.default
done
[ $A != $B ]
`

// secret has az make one for the application.
const secret = "az ad app credential reset --id $APP --query password -o tsv"

// TestWhatIsWrongIsFound breaks each promise of the runner.
func TestWhatIsWrongIsFound(t *testing.T) {
	w := newWorld(t)
	run := func(t *testing.T, text string) error {
		t.Helper()
		session := docs.Session{Clone: root, Dir: root, Env: w.env, Kinds: []docs.Kind{docs.Shell, docs.Yours, docs.Azure, docs.Machine}, Yours: map[string]string{"MINE": "theirs"}}
		_, err := session.Run(t.Context(), docs.Parse("docs/page.md", text))
		return err
	}
	for name, test := range map[string]struct{ text, want string }{
		"variables stay":                            {"```sh\nA=1\n```\n```sh\n[ $A = 1 ]\n```\n", ""},
		"the reader's own is replaced":              {"```sh yours\nMINE=mine # yes\n```\n```sh\n[ $MINE = theirs ]\n```\n", ""},
		"a command that fails":                      {"```sh\ntrue\nfalse\ntrue\n```\n", "docs/page.md:2: exit status 1"},
		"a command that fails before a pipe":        {"```sh\nfalse | cat\n```\n", "docs/page.md:2"},
		"a status":                                  {"```sh status=3\n(exit 3)\n```\n", ""},
		"another status":                            {"```sh status=3\n(exit 2)\n```\n", "it ended with status 2, and is to end with 3"},
		"an unknown command of az":                  {"```sh azure\naz aks destroy -g a -n b\n```\n", "az aks destroy -g a -n b: no command that is known here"},
		"an unknown flag of az":                     {"```sh azure\naz group create --nam a -l b\n```\n", "no flag --nam is known here"},
		"a flag of az that is missing":              {"```sh\naz identity create -g a\n```\n", "flag -n is missing"},
		"a far command outside of a block of azure": {"```sh\naz group create -n a -l b\n```\n", "belongs in a block of sh azure"},
		"a far command":                             {"```sh azure\naz group create -n a -l b\n```\n", ""},
		"a query":                                   {"```sh\n[ $(az aks show -g a -n b --query nodeResourceGroup -o tsv) = MC_podid-demo ]\n```\n", ""},
		"a query of nothing":                        {"```sh\naz aks show -g a -n b --query nothing -o tsv\n```\n", "there is no nothing, but identityProfile, "},
		"a refusal in an argument":                  {"```sh\necho $(az identity create -g a)\n```\n", "az identity create: flag -n is missing"},
		"a refusal in a document":                   {"```sh\ncat <<END\n$(az identity create -g a)\nEND\n```\n", "az identity create: flag -n is missing"},
		"a refusal in a list":                       {"```sh\nfor i in $(az identity create -g a); do echo $i; done\n```\n", "az identity create: flag -n is missing"},
		"a refusal that is asked about":             {"```sh\nif [ -z \"$(az identity create -g a)\" ]; then echo none; fi\n```\n", "az identity create: flag -n is missing"},
		"a refusal where a status is expected":      {"```sh status=1\necho $(az identity create -g a)\nfalse\n```\n", "az identity create: flag -n is missing"},
		"another program that fails in an argument": {"```sh\n\necho $(kubectl gett nodes)\n```\n", "status 1 of kubectl gett nodes, line 2"},
		"a shell that ends before the page":         {"```sh\nexit 0\n```\n```sh\nfalse\n```\n", "docs/page.md:2: the shell ended there"},
		"a second secret":                           {"```sh\nAPP=$(az ad app create --display-name a --query appId -o tsv)\nA=$(" + secret + ")\nB=$(" + secret + " --append)\n" + bothSignIn + "```\n", ""},
		"a second secret that ends the first":       {"```sh\nAPP=$(az ad app create --display-name a --query appId -o tsv)\nA=$(" + secret + ")\nB=$(" + secret + ")\n```\n", "ends at once without --append"},
		"a value that a flag does not have":         {"```sh azure\naz acr create -g a -n b --sku Cheap\n```\n", "flag --sku cannot be Cheap"},
		"an identity":                               {"```sh\naz identity create -g a -n b\n[ -n $(az identity show -g a -n b --query clientId -o tsv) ]\n```\n", ""},
		"a password that is read to its end":        {"```sh azure\nhead -c 1000000 /dev/zero | skopeo login --username a --password-stdin b\n```\n", ""},
		"a password of nothing":                     {"```sh azure\ntrue | skopeo login --username a --password-stdin b\n```\n", "skopeo login: there is no password on its input"},
		"a target that make has":                    {"```sh machine\nmake images VERSION=1\n```\n", ""},
		"a target that make does not have":          {"```sh machine\nmake image\n```\n", "the Makefile has no image"},
		"a variable that make does not have":        {"```sh machine\nmake images VERSON=1\n```\n", "the Makefile has no VERSON=1"},
		"kubectl":                                   {"```sh\nkubectl get nodes\n```\n", ""},
		"a verb that kubectl does not have":         {"```sh\nkubectl gett nodes\n```\n", `unknown command "gett"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t, test.text)
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Run: %v, want %q", err, test.want)
			}
		})
	}
	for name, yaml := range map[string]string{
		"an unknown field":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\n",
		"a field twice":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {}\ndata: {}\n",
		"a kind of nothing": "apiVersion: example.com/v1\nkind: Some\nmetadata: {name: a}\n",
		"no object":         "args: [a]\n",
	} {
		if err := w.strictly(t, yaml); err == nil {
			t.Errorf("%s is taken:\n%s", name, yaml)
		}
	}
	if err := w.values(t, "# values.yaml\nmicc: {}\n"); err == nil || !strings.Contains(err.Error(), "micc") {
		t.Errorf("an unknown value: %v", err)
	}
}
