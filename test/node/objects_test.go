package node_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// label is what gives a pod an identity.
const label = "aadpodidbinding"

// kind is a kind of workload that has an identity of its own.
type kind struct {
	name    string
	tells   []string // names in the reports of its pods
	objects func(k kind) []client.Object
}

// kinds are the kinds of workloads whose pods ask once, with no second try.
func kinds() []kind {
	return []kind{
		{"deployment", []string{"deployment"}, func(k kind) []client.Object {
			return []client.Object{&appsv1.Deployment{
				ObjectMeta: k.meta(),
				Spec:       appsv1.DeploymentSpec{Selector: k.selector(), Template: k.template(corev1.RestartPolicyAlways, asks(k.name, "-stay"))},
			}}
		}},
		{"statefulset", []string{"statefulset-0", "statefulset-1"}, func(k kind) []client.Object {
			two := int32(2)
			return []client.Object{&appsv1.StatefulSet{
				ObjectMeta: k.meta(),
				Spec: appsv1.StatefulSetSpec{
					Replicas: &two, Selector: k.selector(), Template: k.template(corev1.RestartPolicyAlways, asks("", "-stay")),
				},
			}}
		}},
		{"job", []string{"job"}, func(k kind) []client.Object {
			return []client.Object{&batchv1.Job{
				ObjectMeta: k.meta(), Spec: batchv1.JobSpec{Template: k.template(corev1.RestartPolicyNever, asks(k.name))},
			}}
		}},
		{"init", []string{"init-container", "init-main"}, func(k kind) []client.Object {
			template := k.template(corev1.RestartPolicyNever, asks("init-main"))
			template.Spec.InitContainers = []corev1.Container{asks("init-container")}
			template.Spec.InitContainers[0].Name = "first"
			return []client.Object{&batchv1.Job{ObjectMeta: k.meta(), Spec: batchv1.JobSpec{Template: template}}}
		}},
		{"cronjob", []string{"cronjob"}, func(k kind) []client.Object {
			return []client.Object{&batchv1.CronJob{
				ObjectMeta: k.meta(),
				Spec: batchv1.CronJobSpec{
					Schedule:    "* * * * *",
					JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: k.template(corev1.RestartPolicyNever, asks(k.name))}},
				},
			}}
		}},
	}
}

func (k kind) meta() metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: k.name} }

func (k kind) selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": k.name}}
}

func (k kind) template(restart corev1.RestartPolicy, c corev1.Container) corev1.PodTemplateSpec {
	grace := int64(1)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": k.name, label: k.name}},
		Spec:       corev1.PodSpec{RestartPolicy: restart, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{c}},
	}
}

// asks is a container that asks for a token as curl would, once. The name in
// its reports is the host's if none is given, which is the pod's.
func asks(as string, more ...string) corev1.Container {
	args := []string{"ask"}
	if as != "" {
		args = append(args, "-as", as)
	}
	return corev1.Container{Name: "app", Image: curlImage, Args: append(args, more...)}
}

// identity is a managed identity and the binding that gives it to the pods with
// its name in their label.
func identity(namespace, name, clientID string) []client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	return []client.Object{
		&v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{ResourceID: identityID(name), ClientID: clientID}},
		&v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}},
	}
}

// quickstart is what examples/quickstart holds.
func quickstart(t *testing.T) (objects []client.Object) {
	t.Helper()
	files, err := filepath.Glob("../../examples/quickstart/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
			o := &unstructured.Unstructured{}
			if err := d.Decode(o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(o.Object) > 0 {
				objects = append(objects, o)
			}
		}
	}
	return objects
}
