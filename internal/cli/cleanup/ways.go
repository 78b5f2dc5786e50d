package cleanup

import (
	"errors"
	"fmt"
)

// redirectsStay is what is said where no agent is there to take them away.
const redirectsStay = "nodes that it was on have their redirect until they restart"

// gone is an error of an agent that is not there any more: all but that can be well,
// and another run would say the same.
type gone struct{ error }

// wayOn adds to errors what goes on where Helm does not by itself: only where each of
// them is of an agent that is gone. Of any other, going on would leave what another run
// can take away.
func (w *work) wayOn(errs ...error) error {
	all := errors.Join(errs...)
	for _, err := range errs {
		if _, ok := errors.AsType[gone](err); err != nil && !ok {
			return all
		}
	}
	if all == nil {
		return nil
	}
	return fmt.Errorf(`%w
With Helm
  make anew what was deleted, and uninstall again:  helm rollback RELEASE REVISION -n %[2]s
  or go on without:                                 helm uninstall RELEASE -n %[2]s --no-hooks
  and, either way, delete the Jobs that failed:     %[3]s`, all, w.namespace, w.deleteJobs())
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
