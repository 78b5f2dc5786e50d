package explain

// Missing is the report of a pod that does not exist. elsewhere are the namespaces
// that have a pod of the name.
func Missing(namespace, name string, elsewhere []string) *Report {
	s := broken("there is no pod %s in namespace %s", name, namespace).mend("kubectl get pods -n %s", namespace)
	if len(elsewhere) > 0 {
		s.Evidence += "; there is one in " + few(elsewhere)
		s = s.mend("podid explain pod/%s -n %s", name, elsewhere[0])
	}
	s.Name = PodStep
	r := &Report{Pod: namespace + "/" + name, Steps: []Step{s}}
	r.conclude()
	return r
}
