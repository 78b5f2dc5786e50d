package status

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/explain"
)

// report is the output in JSON.
type report struct {
	Context string `json:"context,omitempty"`
	// Leader holds mic's Lease, and has renewed it last at Renewed.
	Leader     string      `json:"leader,omitempty"`
	Renewed    time.Time   `json:"renewed,omitzero"`
	Components []component `json:"components"`
	Scopes     []*scope    `json:"scopes"`
	Identities []named     `json:"identities"`
	// Notes are what could not be read.
	Notes []string `json:"notes,omitempty"`

	leads       bool
	leaseUnread bool
	mic         bool // there are pods of mic
	standard    bool // an nmi runs in the mode that needs mic
}

// component is a pod of podid's.
type component struct {
	Part    string `json:"part"`
	Pod     string `json:"pod"`
	Node    string `json:"node"`
	Version string `json:"version"`
	Ready   bool   `json:"ready"`
	Why     string `json:"why,omitempty"`
}

// scope is a VM or a scale set. Identities are counted once each, however many pods
// need them.
type scope struct {
	ID string `json:"id"`
	// Wanted are the identities that pods need there, Attached those of them that are
	// there, and Pending the others.
	Wanted   int `json:"wanted"`
	Attached int `json:"attached"`
	Pending  int `json:"pending"`
	Pods     int `json:"pods"`
	// Recorded is how many identities mic's own record names, pods or not.
	Recorded int `json:"recorded"`
	// Error is why one of the pending is.
	Error string `json:"error,omitempty"`

	name string
}

// named is an AzureIdentity.
type named struct {
	Name     string `json:"name"` // NAMESPACE/NAME
	Type     int    `json:"type"`
	ClientID string `json:"clientID,omitempty"`
	Pods     int32  `json:"pods"`
	// Attached is True, False with a reason, or empty where mic attaches nothing.
	Attached string `json:"attached,omitempty"`
	Why      string `json:"why,omitempty"`
}

// well reports whether all parts are ready and nothing is refused.
func (r *report) well() bool {
	return (r.leads || r.leaseUnread || !r.mic) && (r.mic || !r.standard) &&
		slices.ContainsFunc(r.Components, func(c component) bool { return c.Part == cluster.Agent }) &&
		!slices.ContainsFunc(r.Components, func(c component) bool { return !c.Ready }) &&
		!slices.ContainsFunc(r.Identities, func(i named) bool { return i.Attached == "False" })
}

// status is that of the command. What could not be read may be what is not well.
func (r *report) status() error {
	switch {
	case r == nil: // interrupted before anything was shown
		return command.ErrNotFoundOut
	case !r.well():
		return errNotWell
	case len(r.Notes) > 0:
		return command.ErrNotFoundOut
	default:
		return nil
	}
}

// read reads all of it. What may not be read is a note, unless it is nearly all.
func read(ctx context.Context, c *cluster.Cluster) (*report, error) {
	r := &report{Context: c.Context, Components: []component{}, Scopes: []*scope{}, Identities: []named{}}
	if err := r.readComponents(ctx, c); err != nil {
		return nil, err
	}
	troubles, err := r.readIdentities(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := r.readScopes(ctx, c, troubles); err != nil {
		return nil, err
	}
	r.readRecords(ctx, c)
	slices.SortFunc(r.Scopes, func(a, b *scope) int { return cmp.Compare(a.name, b.name) })
	slices.SortFunc(r.Identities, func(a, b named) int { return cmp.Compare(a.Name, b.Name) })
	return r, nil
}

func (r *report) readComponents(ctx context.Context, c *cluster.Cluster) error {
	now := time.Now()
	var controllers []corev1.Pod
	for _, part := range []string{cluster.Controller, cluster.Agent} {
		pods, err := c.Components(ctx, part, "")
		if err != nil {
			return err
		}
		if part == cluster.Controller {
			controllers = pods
		}
		r.mic = r.mic || part == cluster.Controller && len(pods) > 0
		for i := range pods {
			p := &pods[i]
			r.standard = r.standard || part == cluster.Agent && !cluster.FlagsOf(p).Managed
			x := component{Part: part, Pod: p.Name, Node: p.Spec.NodeName, Version: versionOf(p)}
			x.Ready, x.Why = explain.Readiness(p, now)
			r.Components = append(r.Components, x)
		}
	}
	slices.SortStableFunc(r.Components, func(a, b component) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Pod, b.Pod))
	})
	var lease coordinationv1.Lease
	err := c.Get(ctx, c.ControllerFlagsOf(controllers).Lease, &lease)
	switch m := cluster.MICOf(&lease); {
	case err == nil:
		r.Leader, r.Renewed, r.leads = m.Holder, m.Renewed, m.Leads(now)
	case !apierrors.IsNotFound(err):
		r.leaseUnread = true
		r.Notes = append(r.Notes, fmt.Sprintf("mic's Lease cannot be read: %v", err))
	}
	return nil
}

// versionOf is the label of the version, or the tag of the image.
func versionOf(p *corev1.Pod) string {
	if v := p.Labels[cluster.VersionLabel]; v != "" {
		return v
	}
	for i := range p.Spec.Containers {
		image, _, _ := strings.Cut(p.Spec.Containers[i].Image, "@")
		if _, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":"); ok {
			return tag
		}
	}
	return ""
}

// readIdentities lists the AzureIdentities, and returns what is in the way of those
// that are not attached, by name.
func (r *report) readIdentities(ctx context.Context, c *cluster.Cluster) (map[string]string, error) {
	troubles := map[string]string{}
	var list v1.AzureIdentityList
	err := c.ListAll(ctx, &list, func() {
		for i := range list.Items {
			o := &list.Items[i]
			spec := o.Spec.Canonical()
			n := named{Name: o.Namespace + "/" + o.Name, Type: int(*spec.Type), ClientID: spec.ClientID, Pods: o.Status.MatchedPods}
			if c := meta.FindStatusCondition(o.Status.Conditions, v1.ConditionAttached); c != nil {
				n.Attached = string(c.Status)
				if c.Status != metav1.ConditionTrue && c.Reason == v1.ReasonAttaching {
					n.Attached = "Pending"
				}
				if n.Attached == string(metav1.ConditionFalse) {
					n.Why = c.Message
					troubles[n.Name] = c.Message
				}
			}
			r.Identities = append(r.Identities, n)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list AzureIdentities: %w", err)
	}
	return troubles, nil
}

// readScopes counts, by machine, what AzureAssignedIdentities say.
func (r *report) readScopes(ctx context.Context, c *cluster.Cluster, troubles map[string]string) error {
	type on struct{ scope, identity string }
	attached, pods := map[on]bool{}, map[on]bool{}
	scopes := map[string]*scope{}
	var list v1.AzureAssignedIdentityList
	err := c.ListAll(ctx, &list, func() {
		for i := range list.Items {
			o := &list.Items[i]
			s := r.scopeOf(o, scopes)
			if ref := o.Spec.AzureIdentityRef; ref != nil {
				k := on{s.ID, strings.ToLower(ref.Spec.Canonical().ResourceID)}
				is := o.Status.Status == v1.Assigned || o.Status.Status == ""
				attached[k] = attached[k] || is
				if why := troubles[ref.Namespace+"/"+ref.Name]; !is && why != "" {
					s.Error = why
				}
			}
			if k := (on{s.ID, o.Spec.PodNamespace + "/" + o.Spec.Pod}); !pods[k] {
				pods[k] = true
				s.Pods++
			}
		}
	})
	if err != nil {
		return fmt.Errorf("list AzureAssignedIdentities: %w", err)
	}
	for k, is := range attached {
		s := scopes[k.scope]
		s.Wanted++
		if is {
			s.Attached++
		} else {
			s.Pending++
		}
	}
	return nil
}

// scopeOf is the machine that an object is for; all that are for none go together.
func (r *report) scopeOf(o *v1.AzureAssignedIdentity, known map[string]*scope) *scope {
	where, _ := assign.ScopeOf(o)
	s := known[where.ID()]
	if s == nil {
		s = &scope{ID: where.ID(), name: where.String()}
		known[s.ID] = s
		r.Scopes = append(r.Scopes, s)
	}
	return s
}

// readRecords counts what mic has written down of machines, needed by pods or not.
func (r *report) readRecords(ctx context.Context, c *cluster.Cluster) {
	var list corev1.ConfigMapList
	err := c.ListAll(ctx, &list, func() {
		for i := range list.Items {
			m := &list.Items[i]
			where, err := assign.ParseID(m.Data["scope"])
			var record assign.Record
			if err != nil || json.Unmarshal([]byte(m.Data["identities"]), &record) != nil {
				continue // mic ignores it, too
			}
			j := slices.IndexFunc(r.Scopes, func(s *scope) bool { return s.ID == where.ID() })
			if j < 0 {
				j = len(r.Scopes)
				r.Scopes = append(r.Scopes, &scope{ID: where.ID(), name: where.String()})
			}
			r.Scopes[j].Recorded = len(record)
		}
	}, client.InNamespace(c.System), client.MatchingLabels{"app.kubernetes.io/managed-by": cluster.Name})
	if err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("mic's records cannot be read: %v", err))
	}
}
