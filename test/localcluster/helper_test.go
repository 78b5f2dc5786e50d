package localcluster_test

func runHelper() bool { return false }
