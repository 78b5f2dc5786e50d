// Command policyengine is Azure's network policy manager, the engine of AKS's
// --network-policy=azure, without its telemetry: what enforces NetworkPolicies on a
// node in podid's tests. It runs until it is killed.
//
//	policyengine KUBECONFIG NODE
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-container-networking/common"
	"github.com/Azure/azure-container-networking/npm"
	npmconfig "github.com/Azure/azure-container-networking/npm/config"
	"github.com/Azure/azure-container-networking/npm/metrics"
	"github.com/Azure/azure-container-networking/npm/pkg/dataplane"
	"github.com/Azure/azure-container-networking/npm/pkg/dataplane/ipsets"
	"github.com/Azure/azure-container-networking/npm/pkg/dataplane/policies"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/exec"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "policyengine:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments: want KUBECONFIG NODE", len(args))
	}
	access, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	version, err := clients.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	config := npmconfig.DefaultConfig
	forever := make(chan struct{})
	metrics.InitializeAll()
	plane, err := dataplane.NewDataPlane(args[1], common.NewIOShim(), &dataplane.Config{
		IPSetManagerCfg:  &ipsets.IPSetManagerCfg{IPSetMode: ipsets.ApplyAllIPSets},
		PolicyManagerCfg: &policies.PolicyManagerCfg{PolicyMode: policies.IPSetPolicyMode, PlaceAzureChainFirst: config.Toggles.PlaceAzureChainFirst},
	}, forever)
	if err != nil {
		return err
	}
	plane.RunPeriodicTasks()
	factory := informers.NewSharedInformerFactory(clients, 15*time.Minute)
	if err := npm.NewNetworkPolicyManager(config, factory, plane, exec.New(), "test", version).Start(config, forever); err != nil {
		return err
	}
	<-forever
	return nil
}
