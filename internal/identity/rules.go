package identity

// Rules are the operator's choices. The zero value is the safe default.
type Rules struct {
	// AcrossNamespaces lets a pod match bindings of other namespaces, and an
	// identity name a Secret of another, as AAD Pod Identity did by default. The
	// default is false: pod, binding, identity and Secret share one namespace.
	AcrossNamespaces bool
	// ExceptionNamespaces is where an AzurePodIdentityException counts; "*" is
	// everywhere. The default is nowhere.
	ExceptionNamespaces []string
	// AuthorityHosts may stand in spec.adEndpoint besides those of the known
	// clouds: host, or host:port. The default is none.
	AuthorityHosts []string
	// DefaultAuthority is the Entra host, or host:port, of identities that name
	// none. The default is login.microsoftonline.com.
	DefaultAuthority string
}
