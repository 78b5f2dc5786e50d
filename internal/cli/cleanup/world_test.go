package cleanup_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
)

const objects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: podid-mic, labels: &mic {app.kubernetes.io/name: podid, app.kubernetes.io/component: mic}}
spec:
  replicas: 2
  selector: {matchLabels: *mic}
  template:
    metadata: {labels: *mic}
    spec:
      serviceAccountName: podid-mic
      initContainers:
      - {name: init, image: init, env: [{name: AAD_CLIENT, valueFrom: {secretKeyRef: {name: gone, key: client}}}], envFrom: [{configMapRef: {name: gone}}]}
      containers:
      - name: mic
        image: podid-io/mic:1
        args: [--cloud-config=, --immutable-user-msis=a]
        env: [{name: CLOUD, value: AzureCloud}, {name: AAD_CLIENT, valueFrom: {secretKeyRef: {name: gone, key: client}}},
          {name: AAD_TENANT, valueFrom: {configMapKeyRef: {name: gone, key: tenant}}}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        envFrom: [{secretRef: {name: gone}}, {configMapRef: {name: gone}}]
        ports: [{containerPort: 8080}]
        livenessProbe: {httpGet: {path: /healthz, port: 8080}}
      volumes:
      - {name: host, hostPath: {path: /etc/kubernetes, type: Directory}}
      - {name: cloud, secret: {secretName: gone}}
      - {name: ca, configMap: {name: gone}}
      - {name: vault, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: gone}}}
      - {name: disk, persistentVolumeClaim: {claimName: gone}}
      - {name: all, projected: {sources: [{secret: {name: gone}}, {configMap: {name: gone}}, {serviceAccountToken: {path: token, expirationSeconds: 3600}}]}}
      - {name: tmp, emptyDir: {medium: Memory}}
      - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: podid-nmi, labels: &nmi {app.kubernetes.io/name: podid, app.kubernetes.io/component: nmi}}
spec:
  selector: {matchLabels: *nmi}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: *nmi}
    spec:
      hostNetwork: true
      serviceAccountName: podid-nmi
      containers:
      - name: nmi
        image: podid-io/nmi:1
        args: [--operation-mode=standard, "--listen=169.254.25.79:2579"]
        readinessProbe: {exec: {command: [/nmi, ready]}}
        securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN, NET_RAW]}}
---
apiVersion: v1
kind: Pod
metadata: {name: podid-test, labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: test}}
spec: {containers: [{name: doctor, image: "podid-io/podid:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other-test, labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: test, app.kubernetes.io/instance: other}}
spec: {containers: [{name: doctor, image: "podid-io/podid:1"}]}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: podid-mic}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: podid-nmi}}
---
apiVersion: v1
kind: Pod
metadata:
  name: podid-mic-0
  labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: mic}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: r, controller: true}]
spec: {terminationGracePeriodSeconds: 0, serviceAccountName: podid-mic, containers: [{name: mic, image: podid-io/mic:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: podid-mic-cleanup-0, labels: {batch.kubernetes.io/job-name: podid-mic-cleanup}}
spec: {nodeName: node-1, terminationGracePeriodSeconds: 0, serviceAccountName: podid-mic, containers: [{name: mic, image: podid-io/mic:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: podid-nmi-1, labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: nmi}}
spec: {nodeName: node-1, terminationGracePeriodSeconds: 0, serviceAccountName: podid-nmi, containers: [{name: nmi, image: podid-io/nmi:1}]}
`

// world is a namespace with podid in it, and with the part of the controller
// manager that matters here.
type world struct {
	client    client.WithWatch
	namespace string
	job       *batchv1.Job // as it was made
}

// answers say what goes wrong.
type answers struct {
	jobFails, jobHangs, silentNode, nmiVanishes, noNodes bool
	// nmiVanishesFirst: while mic cleanup runs.
	nmiVanishesFirst bool
	// after is closed before nodes do anything; nil does not keep them.
	after chan struct{}
}

func newWorld(t *testing.T, namespace string) *world {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), appsv1.AddToScheme(s), batchv1.AddToScheme(s), rbacv1.AddToScheme(s), v1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	w := &world{namespace: namespace, job: &batchv1.Job{}}
	var err error
	if w.client, err = client.NewWithWatch(plane.REST(), client.Options{Scheme: s}); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(objects, "\n---\n") {
		w.create(t, document)
	}
	var d appsv1.DaemonSet
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "podid-nmi"}, &d); err != nil {
		t.Fatal(err)
	}
	d.Status = appsv1.DaemonSetStatus{ObservedGeneration: d.Generation, DesiredNumberScheduled: 2, CurrentNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberReady: 2}
	if err := w.client.Status().Update(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
	return w
}

// create makes an object of the world's namespace.
func (w *world) create(t *testing.T, document string) {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
		t.Fatal(err)
	}
	o, err := w.client.Scheme().New(kind.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(document), o); err != nil {
		t.Fatal(err)
	}
	object, ok := o.(client.Object)
	if !ok {
		t.Fatalf("%T", o)
	}
	object.SetNamespace(w.namespace)
	if err := w.client.Create(t.Context(), object); err != nil {
		t.Fatalf("%v:\n%s", err, document)
	}
}

// grant gives the service account of the chart's hook its role.
func (w *world) grant(t *testing.T) {
	t.Helper()
	made := 0
	for document := range strings.SplitSeq(hookFile(t), "\n---\n") {
		if !strings.Contains(document, "\n  name: podid-cleanup\n") || strings.Contains(document, "\nkind: Job\n") {
			continue
		}
		w.create(t, strings.ReplaceAll(document, "podid-system", w.namespace))
		made++
	}
	if made != 3 {
		t.Fatalf("%d objects of the hook, want a service account, a role and a binding", made)
	}
}

// run plays the controllers of Deployments, Jobs and DaemonSets until the test ends.
func (w *world) run(t *testing.T, a answers) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for list, step := range map[client.ObjectList]func(context.Context, client.Object) error{
		&appsv1.DeploymentList{}: w.scale,
		&batchv1.JobList{}:       func(ctx context.Context, o client.Object) error { return w.work(ctx, o, a) },
		&appsv1.DaemonSetList{}:  func(ctx context.Context, o client.Object) error { return w.roll(ctx, o, a) },
	} {
		events, err := w.client.Watch(ctx, list, client.InNamespace(w.namespace))
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { // ends with the watch, which ends with ctx
			for event := range events.ResultChan() {
				if o, ok := event.Object.(client.Object); ok {
					if err := step(ctx, o); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
						t.Error(err)
					}
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
}

func (w *world) scale(ctx context.Context, o client.Object) error {
	if d, ok := o.(*appsv1.Deployment); ok && *d.Spec.Replicas == 0 {
		return w.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "podid-mic-0"}})
	}
	return nil
}

func (w *world) work(ctx context.Context, o client.Object, a answers) error {
	j, ok := o.(*batchv1.Job)
	if !ok || len(j.Status.Conditions) > 0 || j.DeletionTimestamp != nil {
		return nil
	}
	j.DeepCopyInto(w.job)
	if a.jobHangs {
		return nil
	}
	if a.nmiVanishesFirst {
		if err := w.client.Delete(ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "podid-nmi"}}); err != nil {
			return err
		}
	}
	now := metav1.Now()
	j.Status.StartTime = &now
	conditions := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
	if a.jobFails {
		conditions = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
	} else {
		j.Status.CompletionTime = &now
	}
	for _, c := range conditions {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	return w.client.Status().Update(ctx, j)
}

func (w *world) roll(ctx context.Context, o client.Object, a answers) error {
	d, ok := o.(*appsv1.DaemonSet)
	if !ok || d.Status.ObservedGeneration == d.Generation {
		return nil
	}
	if a.after != nil {
		select {
		case <-a.after:
		case <-ctx.Done():
		}
	}
	if a.nmiVanishes {
		return w.client.Delete(ctx, d)
	}
	d.Status.ObservedGeneration = d.Generation
	if a.silentNode {
		d.Status.NumberReady = 1
	}
	if a.noNodes {
		d.Status.DesiredNumberScheduled, d.Status.CurrentNumberScheduled, d.Status.UpdatedNumberScheduled, d.Status.NumberReady = 0, 0, 0, 0
	}
	if err := w.client.Status().Update(ctx, d); !apierrors.IsConflict(err) { // who changed it meanwhile brings another event
		return err
	}
	return nil
}
