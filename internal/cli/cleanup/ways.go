package cleanup

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// redirectsStay is what is said where no agent is there to take them away.
const redirectsStay = "nodes that it was on have their redirect until they restart"

// gone is an error of an agent that is not there any more: all but that can be well,
// and another run would say the same.
type gone struct {
	error
	// noNodes: the DaemonSet is there, and selects none.
	noNodes bool
}

// wayOn adds to errors what goes on where Helm does not by itself: only where each of
// them is of an agent that is gone, or of what stays in any case. Of any other, going on
// would leave what another run can take away.
func (w *work) wayOn(errs ...error) error {
	all := errors.Join(errs...)
	var deleted, noNodes bool
	for _, err := range errs {
		g, ok := errors.AsType[gone](err)
		if _, stays := errors.AsType[remains](err); stays {
			continue
		}
		if err != nil && !ok {
			return all
		}
		deleted = deleted || ok && !g.noNodes
		noNodes = noNodes || ok && g.noNodes
	}
	if !deleted && !noNodes {
		return all
	}
	said := "\nWith Helm"
	if deleted {
		said += "\n  make anew what was deleted, and uninstall again:  helm rollback RELEASE REVISION -n " + w.namespace
	}
	if noNodes {
		said += "\n  give nmi its nodes back, and uninstall again:     kubectl label node NODE ... (see nmi.nodeSelector, nmi.affinity)"
	}
	return fmt.Errorf(`%w%s
  or go on without:                                 helm uninstall RELEASE -n %s --no-hooks
  and, either way, delete the Jobs that failed:     %s`, all, said, w.namespace, w.deleteJobs())
}

// nothing is said where neither mic nor nmi is. Only Jobs tell a podid that was deleted
// from a name that was mistyped: those of Helm's hook and of mic cleanup.
func (w *work) nothing(ctx context.Context, yes bool) error {
	absent := gone{error: fmt.Errorf("there is no podid in namespace %s: name its own by --namespace; if it was deleted, what it attached stays on the machines, and %s", w.namespace, redirectsStay)}
	if !yes {
		return absent
	}
	var jobs batchv1.JobList
	if err := w.client.List(ctx, &jobs, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/name": "podid"}); err != nil {
		return errors.Join(absent, fmt.Errorf("find podid's Jobs: %w", err))
	}
	if len(jobs.Items) == 0 {
		return absent
	}
	return w.wayOn(absent)
}

// ways out of an uninstall that left identities, which Helm has none for.
func (w *work) ways() string {
	return fmt.Sprintf(`The redirect stays up, and pods that have an identity keep it. mic has ended, and stays so: new pods get none until it runs again. Mend it and run this again; or
  leave the identities to every pod of their node:  podid cleanup -n %[1]s --yes --keep-identities
  and, with Helm, then:                             helm uninstall RELEASE -n %[1]s --no-hooks
  go back, with Helm, which starts mic again:       helm rollback RELEASE REVISION -n %[1]s
  and, either way, delete the Jobs that failed:     %[2]s`, w.namespace, w.deleteJobs())
}

// deleteJobs deletes that of the chart's hook and that of mic cleanup, which stay for
// their logs where they failed.
func (w *work) deleteJobs() string {
	return fmt.Sprintf("kubectl delete job -n %s -l app.kubernetes.io/name=podid", w.namespace)
}
