package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/config"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/manifest"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/shell"
)

// right is something that a service account needs.
type right struct {
	authorizationv1.ResourceAttributes
}

func (r right) String() string {
	what := r.Resource
	if r.Group != "" {
		what += "." + r.Group
	}
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	if r.Name != "" {
		what += " " + r.Name
	}
	if r.Namespace != "" {
		what += " in namespace " + r.Namespace
	}
	return r.Verb + " " + what
}

// rights asks the API server whether mic and nmi may do what they need to.
func (x *examination) rights(ctx context.Context) {
	list, err := manifest.Folder(config.Files, "rbac")
	if err != nil {
		x.unread("rights", err)
		return
	}
	for _, part := range []string{cluster.Controller, cluster.Agent} {
		account := x.account(part)
		if account == "" {
			continue // it is told that there is no such part
		}
		needs := x.needs(list, part)
		var lacking []string
		secrets := map[string][]string{} // rights to them, by namespace
		for _, r := range needs {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + x.System + ":" + account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + x.System, "system:authenticated"},
				ResourceAttributes: &r.ResourceAttributes,
			}}
			if err := x.Create(ctx, review); err != nil {
				x.unread("rights", fmt.Errorf("what %s may do: %w", part, err))
				return
			}
			switch {
			case review.Status.Allowed:
			case r.Resource == "secrets":
				secrets[r.Namespace] = append(secrets[r.Namespace], r.String())
			default:
				lacking = append(lacking, r.String())
			}
		}
		x.noSecrets(account, secrets)
		switch {
		case len(lacking) > 0:
			x.report.add("rights", explain.Broken, fmt.Sprintf("service account %s/%s of %s may not: %s", x.System, account, part, strings.Join(lacking, ", ")),
				"kubectl apply -f config/rbac/"+part+".yaml   # or upgrade the chart")
		case len(secrets) == 0:
			x.report.add("rights", explain.OK, fmt.Sprintf("service account %s/%s of %s may do all of %d things that it needs to", x.System, account, part, len(needs)), "")
		}
	}
}

// noSecrets tells of namespaces whose Secrets nmi may not read. What mends that opens
// them alone: config/rbac has nmi read the Secrets of all namespaces. The chart's own
// binding goes with podid; one by hand stays, and would open them again to the next
// nmi. Its name is none of the chart's, which would not take it over.
func (x *examination) noSecrets(account string, lacking map[string][]string) {
	all := shell.Quote("rbac.secretNamespaces={" + strings.Join(x.secretNamespaces, ",") + "}")
	for _, ns := range slices.Sorted(maps.Keys(lacking)) {
		role := x.prefix() + "-nmi-secrets"
		x.report.add("rights", explain.Broken, fmt.Sprintf("service account %s/%s of nmi may not: %s", x.System, account, strings.Join(lacking[ns], ", ")),
			fmt.Sprintf("%s of the chart, or (delete it again before you uninstall): kubectl create rolebinding %s -n %s --clusterrole=%s --serviceaccount=%s",
				all, shell.Quote(role+"-by-hand"), shell.Quote(ns), shell.Quote(role), shell.Quote(x.System+":"+account)))
	}
}

// account is the service account of a part; empty where there is none.
func (x *examination) account(part string) string {
	if pods := x.components[part]; len(pods) > 0 {
		return pods[0].Spec.ServiceAccountName
	}
	return ""
}

// needs are the rights that the manifests give to a part. Those for the start-up
// taint, for Secrets and for another controller's lock are left to where they are
// needed.
func (x *examination) needs(list []*unstructured.Unstructured, part string) []right {
	var needs []right
	for _, o := range list {
		if o.GetName() != cluster.Name+"-"+part || o.GetNamespace() != "" && o.GetNamespace() != "podid-system" {
			continue
		}
		namespace := ""
		if o.GetKind() == "Role" {
			namespace = x.System
		}
		var role rbacv1.Role // a ClusterRole has its rules in the same place
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role) != nil {
			continue
		}
		for _, rule := range role.Rules {
			if !slices.Contains(rule.Resources, "endpoints") {
				needs = append(needs, spread(rule, namespace)...)
			}
		}
	}
	if part == cluster.Agent {
		for _, ns := range x.secretNamespaces {
			for _, verb := range []string{"get", "list", "watch"} {
				needs = append(needs, right{authorizationv1.ResourceAttributes{Verb: verb, Resource: "secrets", Namespace: ns}})
			}
		}
	}
	return needs
}

// spread makes single rights of a rule.
func spread(rule rbacv1.PolicyRule, namespace string) []right {
	var list []right
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, sub, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				for _, name := range names {
					list = append(list, right{authorizationv1.ResourceAttributes{
						Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: sub, Name: name, Version: version(group),
					}})
				}
			}
		}
	}
	return list
}

func version(group string) string {
	if group == v1.GroupVersion.Group {
		return v1.GroupVersion.Version
	}
	return "v1"
}
