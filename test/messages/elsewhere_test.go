package messages

// elsewhere are texts of the sources that the page leaves out, by its sections: those
// that nobody is told who looks there, and code whose words are made in another place.
var elsewhere = map[string][]string{
	"What a pod is told": {
		// A mark within nmi.
		"not served",
		// What keeps nmi from starting.
		`audit mode "…" is unknown: use buffered, sync or off`,
		"hold of …: write a duration up to …, since the Go SDK gives up after 60s",
		"… requests a second of one pod are too few: write … or more",
		"nmi.Config is incomplete", "nmi.Config.Host is missing", "nmi.Config.PassThrough needs Upstream",
		"nodeview.Config is incomplete", "nodeview.Config.BootID is missing", "the name of the node is missing",
		"serve on …", "make a client for secrets: …", "make a client for the API server …: …", "make the cache of the node's objects: …",
		// Of nmi's readiness and its log.
		"API server …: …", "the API server answered … to …", "the API server has no ….…: apply the CRDs (config/crd)",
		"the view of the node is not fed: …", "watch the node's objects: …", "watch …: …",
		"waiting for the first list of pods, namespaces, identities, bindings, exceptions and assigned identities",
		"…: not from this boot of the node, or its clock was set back", "…: version … is not ours", `(fmt.Errorf("%s: %w", f.Name(), err))`,
		// Azure's answer, in nmi's log: the pod is told that Azure does not answer.
		"token answer holds an access_token that is no bearer token", "token answer is not the JSON of IMDS: …",
		"token answer lacks access_token or a numeric expires_on",
		// The name of a Secret before one of the errors of this section.
		`(fmt.Errorf("%s/%s: %w", namespace, secretName, ErrTooManySecrets))`, `(fmt.Errorf("%s/%s: %w", namespace, secretName, e.err))`,
		// What Azure says, a section of its own, and a refusal that is passed on.
		"(err.Error())",
		// denial has the words, and what makes an imds.Error.
		`(imds.Errorf(imds.Denied, "%s", denial(pod, d)))`, "(fmt.Sprintf(format, args...))", "(description)",
		// A reason that denial does not know: there is none.
		"(string(d.Reason))",
	},
	"What Azure says": {
		// What keeps nmi, mic or podid from starting, or is of their own credential.
		"AzureGermanCloud was closed in 2021: its regions are part of AzureCloud",
		`cloud "…" is unknown: write AzureCloud, AzureChinaCloud or AzureUSGovernment`,
		`metadata endpoint "…": write http://HOST or http://HOST:PORT`,
		"the authorities to trust for Entra ID hold no certificate in PEM",
		"credentials are incomplete: give tenant, client id and a federated token, a secret or a certificate, or choose the managed identity",
		"application … in tenant … for Azure Resource Manager: …", `managed identity "…" for Azure Resource Manager: …`,
		"its certificate: …", "sign in to Azure: …",
		// What is looked at before, and refused in other words.
		`authority "…" is not one that credentials may be sent to`, `authority "…": want https://HOST`,
		"identity type … is no application with a secret or a certificate", "identity type … is not a managed identity",
		"nothing gets tokens for identities of type …", "the application has no credential",
		"the application has no tenant id or no client id", "the client secret is empty", "the identity has neither a client id nor a resource id",
		// Of metadata of the node, where the pod is told one of three texts.
		`"…" is no path of metadata`, "IMDS answered … without a tenant", "the answer of IMDS is longer than … bytes",
		"the turn to ask IMDS for metadata would come too late", "wait to ask IMDS for metadata: …",
		"… requests for metadata are waiting already: IMDS takes few, and this node sends it at most … a second",
		// A fault of nmi's.
		"make the request to IMDS: …",
	},
	"What mic says": {
		// What keeps mic from starting.
		"a credential for Azure Resource Manager is missing", "index … by …: …", "make a client for status: …",
		"make a client for the lock of AAD Pod Identity: …", "make the assignment controller: …", "make the spelling controller of …: …",
		"make the status controller: …",
		// Of mic's log: what the API server did not take is written again.
		"AzureAssignedIdentity …/…: …", "gather what concerns …: …", "read the records of what is attached: …",
		"somebody else has written it meanwhile", "the object that has the name is being deleted", "write conditions of … …: …",
		"write down what is attached to …: …", "write the status of …: …", "no time left: …", `(fmt.Errorf("%s: %w", recordIdentities, err))`,
		// A scope before what Azure said of it; what became of a request before its error.
		`(fmt.Errorf("%s: %w", scope, l.err))`, `(fmt.Errorf("%w (%w)", context.Cause(ctx), err))`,
		// A machine before what to do, which is in this section.
		`(fmt.Sprintf("%s %s: %s", e.Doing, e.Scope, e.Advice()))`,
		// Texts of this section, on their way.
		"(e.Error())", "(errOutside.Error())", "(first.problem)", "(cut(more + c.Message))", "(cut(more + first.problem))", "(why)",
		"(message(spellings))", `(strings.Join(strings.Fields(err.Error()), " "))`,
		// The Event IdentityAssigned: nothing is to be done.
		"(r.tell(o, corev1.EventTypeNormal, reasonAssigned, what))",
		// What no scope of the cluster can be.
		"identities can be attached to virtual machines and scale sets only",
	},
	"What podid explain says": {
		// The words of the refusal that nmi would give.
		`(broken("%v", err))`,
	},
	"What podid doctor says": {
		// A text of the table, put together.
		`(says + "; " + without([]string{…}))`, "(says)",
	},
}
