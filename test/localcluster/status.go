package localcluster

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setRunning is what a kubelet reports when all containers have started: the
// times are those of the pod's present network, not of an earlier one.
func setRunning(object *corev1.Pod, node *Node, pod *Pod, now metav1.Time) {
	status := &object.Status
	status.Phase = corev1.PodRunning
	if status.StartTime == nil {
		status.StartTime = &now
	}
	status.HostIP, status.HostIPs = node.Addr.String(), []corev1.HostIP{{IP: node.Addr.String()}}
	status.PodIP, status.PodIPs = pod.Addr.String(), []corev1.PodIP{{IP: pod.Addr.String()}}
	status.Conditions = nil
	for _, t := range []corev1.PodConditionType{
		corev1.PodScheduled, corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
	} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	over := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}}
	status.InitContainerStatuses, status.ContainerStatuses = nil, nil
	for _, c := range object.Spec.InitContainers {
		state := over
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			state = running
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses, started(c, pod, state))
	}
	for _, c := range object.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, started(c, pod, running))
	}
}

// started is the status of a container that has begun, and may be over.
func started(c corev1.Container, pod *Pod, state corev1.ContainerState) corev1.ContainerStatus {
	begun := state.Running != nil
	return corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, ImageID: c.Image, ContainerID: "localcluster://" + string(pod.UID) + "/" + c.Name,
		Ready: true, Started: &begun, State: state, RestartCount: pod.sandbox,
	}
}
