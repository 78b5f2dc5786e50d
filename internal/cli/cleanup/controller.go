package cleanup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// labels of a component, which all ways to install podid give.
func labels(component string) client.MatchingLabels {
	return client.MatchingLabels{"app.kubernetes.io/name": "podid", "app.kubernetes.io/component": component}
}

func (w *work) controllers(ctx context.Context) ([]appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	if err := w.client.List(ctx, &list, client.InNamespace(w.namespace), labels("mic")); err != nil {
		return nil, fmt.Errorf("find mic: %w", err)
	}
	return list.Items, nil
}

// removeController ends mic, and has what it did undone, within its share of the time.
func (w *work) removeController(ctx context.Context, mic *appsv1.Deployment, keep bool) error {
	ctx, cancel := context.WithTimeout(ctx, share(time.Until(deadline(ctx))))
	defer cancel()
	w.say("ending mic")
	if err := w.client.Patch(ctx, mic, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))); err != nil {
		return fmt.Errorf("scale mic to 0: %w", err)
	}
	err := w.await(ctx, &corev1.PodList{}, podsOf(mic.Spec.Selector), func(pods map[string]client.Object) bool {
		for _, pod := range pods {
			if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind != "Job" {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("wait until mic has ended: %w", err)
	}
	if keep {
		w.say("deleting what mic made; %s", whatStays)
	} else {
		w.say("taking identities off the machines")
	}
	return w.undo(ctx, mic, keep)
}

// undo runs mic cleanup as a Job, as mic ran: its command line, its service
// account, and what it knows Azure by.
func (w *work) undo(ctx context.Context, mic *appsv1.Deployment, keep bool) error {
	job := jobOf(mic, time.Until(deadline(ctx)), keep)
	if err := w.client.Delete(ctx, job.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete the Job of an earlier run: %w", err)
	}
	named := []client.ListOption{client.MatchingFields{"metadata.name": job.Name}}
	err := w.client.Create(ctx, job)
	if apierrors.IsAlreadyExists(err) { // the earlier one is on its way out
		if err = w.await(ctx, &batchv1.JobList{}, named, none); err == nil {
			err = w.client.Create(ctx, job)
		}
	}
	if err != nil {
		return fmt.Errorf("make the Job of mic cleanup: %w", err)
	}
	var failed bool
	err = w.await(ctx, &batchv1.JobList{}, named, func(jobs map[string]client.Object) bool {
		done := len(jobs) == 0 // somebody has deleted it
		failed = done
		for _, o := range jobs {
			if j, ok := o.(*batchv1.Job); ok {
				done, failed = finished(j)
			}
		}
		return done
	})
	said := w.log(ctx, job.Name)
	if err != nil {
		return fmt.Errorf("mic cleanup has not ended: %w%s", err, said)
	}
	if failed {
		return fmt.Errorf("mic cleanup left something behind%s", said)
	}
	return w.client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground))
}

// share is how much of the time that there is mic cleanup may take: nmi's pods need
// theirs to end.
func share(left time.Duration) time.Duration {
	const agents = 2 * time.Minute
	return max(left-agents, left/2)
}

func none(objects map[string]client.Object) bool { return len(objects) == 0 }

// jobOf is mic cleanup, as mic's own pods are. It ends by itself before the time is
// up, to say what is left; the Job's deadline is for one that does not.
func jobOf(mic *appsv1.Deployment, most time.Duration, keep bool) *batchv1.Job {
	template := *mic.Spec.Template.DeepCopy()
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	template.Spec.TopologySpreadConstraints = nil
	template.Spec.Containers = template.Spec.Containers[:1]
	c := &template.Spec.Containers[0]
	c.Args = slices.Concat([]string{"cleanup"}, c.Args, []string{"--timeout=" + max(most-10*time.Second, most/2, time.Second).Round(time.Second).String()})
	if keep {
		c.Args = append(c.Args, "--keep-identities")
		withoutAzure(&template.Spec)
	}
	c.Ports, c.LivenessProbe, c.ReadinessProbe, c.StartupProbe = nil, nil, nil, nil
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: mic.Namespace, Name: mic.Name + "-cleanup", Labels: mic.Labels},
		Spec: batchv1.JobSpec{
			BackoffLimit:          new(int32(0)), // it has tried again by itself
			ActiveDeadlineSeconds: new(int64((most + time.Minute).Seconds())),
			Template:              template,
		},
	}
}

// withoutAzure has a pod start also where what mic knows Azure by is gone already, or
// whatever else it mounts or has in its environment: with --keep-identities nothing of
// that is read.
func withoutAzure(spec *corev1.PodSpec) {
	for i := range spec.Volumes {
		switch v := &spec.Volumes[i].VolumeSource; {
		case v.Secret != nil:
			v.Secret.Optional = new(true)
		case v.ConfigMap != nil:
			v.ConfigMap.Optional = new(true)
		case v.Projected != nil:
			optional(v.Projected.Sources)
		case v.EmptyDir != nil || v.DownwardAPI != nil: // always there
		default:
			*v = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
	for i := range spec.InitContainers {
		withoutEnvironment(&spec.InitContainers[i])
	}
	withoutEnvironment(&spec.Containers[0])
}

// withoutEnvironment has a container start also where others have taken away what its
// environment is made of.
func withoutEnvironment(c *corev1.Container) {
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.SecretKeyRef != nil {
			from.SecretKeyRef.Optional = new(true)
		} else if from != nil && from.ConfigMapKeyRef != nil {
			from.ConfigMapKeyRef.Optional = new(true)
		}
	}
	for i := range c.EnvFrom {
		if from := &c.EnvFrom[i]; from.SecretRef != nil {
			from.SecretRef.Optional = new(true)
		} else if from.ConfigMapRef != nil {
			from.ConfigMapRef.Optional = new(true)
		}
	}
}

// optional makes what a projected volume is made of so, but for tokens of the API
// server's.
func optional(sources []corev1.VolumeProjection) {
	for i := range sources {
		switch s := &sources[i]; {
		case s.Secret != nil:
			s.Secret.Optional = new(true)
		case s.ConfigMap != nil:
			s.ConfigMap.Optional = new(true)
		case s.ClusterTrustBundle != nil:
			s.ClusterTrustBundle.Optional = new(true)
		default:
		}
	}
}

// finished says whether a Job has ended, and whether it failed.
func finished(j *batchv1.Job) (done, failed bool) {
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return true, false
		case batchv1.JobFailed:
			return true, true
		default:
		}
	}
	return false, false
}

// log is what the pods of a Job have said, or why that cannot be had.
func (w *work) log(ctx context.Context, job string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords) // also when the time is up
	defer cancel()
	var pods corev1.PodList
	if err := w.client.List(ctx, &pods, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: job}); err != nil {
		return fmt.Sprintf(" (its pods cannot be listed: %v)", err)
	}
	var said strings.Builder
	for i := range pods.Items {
		text, err := w.core.CoreV1().Pods(w.namespace).GetLogs(pods.Items[i].Name, &corev1.PodLogOptions{TailLines: new(int64(40))}).DoRaw(ctx)
		if err != nil {
			text = fmt.Appendf(nil, "(what it said cannot be had: %v)", err)
		}
		said.WriteString(strings.TrimRight(":\n"+strings.TrimSpace(string(text)), ":\n"))
	}
	return said.String()
}

// deadline is that of ctx, which run has set.
func deadline(ctx context.Context) time.Time {
	at, _ := ctx.Deadline()
	return at
}
