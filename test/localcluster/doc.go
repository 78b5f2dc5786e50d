// Package localcluster is real Kubernetes on one Linux machine, for the tests
// and the demo: an etcd and a kube-apiserver of their own, and nodes and pods
// that are network namespaces.
//
// [StartControlPlane] needs nothing but loopback. [Start] adds nodes and pods
// and needs a sandbox ([Main], [Reexec]): network, mount and process namespaces
// of its own, so that the host's network is never touched and nothing outlives
// the sandbox.
//
//	the sandbox's network namespace is the fabric, Azure's network
//	    lo: 10.224.0.1 (API server, Azure's endpoints), 169.254.169.254 (metadata)
//	     |
//	     +-- node 1  eth0 10.224.0.4/32, pods 10.224.1.0/24
//	     |     +-- pod  eth0 10.224.1.1/32, default via 169.254.1.1
//	     |     +-- pod  eth0 10.224.1.2/32
//	     +-- node 2  eth0 10.224.0.5/32, pods 10.224.2.0/24
//
// Every line is a veth pair whose upper end has no address, only a /32 route,
// as Azure CNI and Calico do it. There is no bridge and no address translation,
// and no packet filter rule: those are what is under test.
//
// The package runs on Linux only.
package localcluster
