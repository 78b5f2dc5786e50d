package azemu

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// The endpoints, as counters, log and faults name them.
const (
	EndpointVMGet          = "arm.vm.get"
	EndpointVMList         = "arm.vm.list"
	EndpointVMPatch        = "arm.vm.patch"
	EndpointVMSSGet        = "arm.vmss.get"
	EndpointVMSSList       = "arm.vmss.list"
	EndpointVMSSPatch      = "arm.vmss.patch"
	EndpointVMSSVMGet      = "arm.vmssvm.get"
	EndpointIdentityGet    = "arm.identity.get"
	EndpointIdentityPut    = "arm.identity.put"
	EndpointIdentityDelete = "arm.identity.delete"
	EndpointIdentityList   = "arm.identity.list"
	EndpointOperationGet   = "arm.operation.get"
	// EndpointOperationEnd is no request but the end of an operation. A fault on
	// it makes operations take longer (Delay) or fail (Status or Code).
	EndpointOperationEnd = "arm.operation.end"
	// EndpointEdit is no request but the end of what somebody else did: see Edit.
	// It takes no faults.
	EndpointEdit = "arm.edit"
	// EndpointRoleAssignmentGet and the next are of Microsoft.Authorization.
	EndpointRoleAssignmentGet    = "arm.roleassignment.get"
	EndpointRoleAssignmentList   = "arm.roleassignment.list"
	EndpointRoleAssignmentPut    = "arm.roleassignment.put"
	EndpointRoleAssignmentDelete = "arm.roleassignment.delete"
	EndpointRoleDefinitionGet    = "arm.roledefinition.get"
	EndpointRoleDefinitionList   = "arm.roledefinition.list"
	EndpointRoleDefinitionPut    = "arm.roledefinition.put"
	// EndpointARMOther is everything else.
	EndpointARMOther       = "arm.other"
	EndpointEntraToken     = "entra.token"
	EndpointEntraDiscovery = "entra.discovery"
	EndpointEntraKeys      = "entra.keys"
	EndpointIMDSToken      = "imds.token"
	EndpointIMDSInfo       = "imds.info"
	EndpointIMDSInstance   = "imds.instance"
	EndpointIMDSVersions   = "imds.versions"
	EndpointIMDSAttested   = "imds.attested"
	EndpointIMDSEvents     = "imds.scheduledevents"
	// EndpointIMDSLoadBalancer is the load balancer metadata.
	EndpointIMDSLoadBalancer = "imds.loadbalancer"
	EndpointIMDSOther        = "imds.other"
)

// Endpoints are the names of all endpoints.
func Endpoints() []string {
	return []string{
		EndpointVMGet, EndpointVMList, EndpointVMPatch, EndpointVMSSGet, EndpointVMSSList, EndpointVMSSPatch, EndpointVMSSVMGet,
		EndpointIdentityGet, EndpointIdentityPut, EndpointIdentityDelete, EndpointIdentityList,
		EndpointOperationGet, EndpointOperationEnd, EndpointARMOther,
		EndpointRoleAssignmentGet, EndpointRoleAssignmentList, EndpointRoleAssignmentPut, EndpointRoleAssignmentDelete,
		EndpointRoleDefinitionGet, EndpointRoleDefinitionList, EndpointRoleDefinitionPut,
		EndpointEntraToken, EndpointEntraDiscovery, EndpointEntraKeys,
		EndpointIMDSToken, EndpointIMDSInfo, EndpointIMDSInstance, EndpointIMDSVersions,
		EndpointIMDSAttested, EndpointIMDSEvents, EndpointIMDSLoadBalancer, EndpointIMDSOther,
	}
}

// longestLog is the number of events kept.
const longestLog = 4096

// Counter counts the requests to one endpoint.
type Counter struct {
	// Calls are the requests that came, answered or not.
	Calls int `json:"calls"`
	// InFlight are those that are not answered yet, Peak the most at once.
	InFlight int `json:"inFlight"`
	Peak     int `json:"peak"`
	// Status counts the answers by HTTP status. 0 are requests given up by their callers.
	Status map[int]int `json:"status,omitempty"`
}

// Event is one request, or the end of an operation.
type Event struct {
	// Time is when the request came, or when the operation ended.
	Time     time.Time `json:"time"`
	Endpoint string    `json:"endpoint"`
	// Machine is the machine whose IMDS was asked.
	Machine string `json:"machine,omitempty"`
	Method  string `json:"method,omitempty"`
	// Path is the path of the request without query, or the ARM id whose operation ended.
	Path string `json:"path,omitempty"`
	// Status is the HTTP status; 0 for a request given up by its caller.
	Status int `json:"status,omitempty"`
	// Duration is how long the request or the operation took.
	Duration Duration `json:"duration"`
	// Code is that of the error with which Resource Manager answered.
	Code string `json:"code,omitempty"`
	// Outcome is the state in which an operation ended.
	Outcome string `json:"outcome,omitempty"`
}

// traffic counts and remembers requests.
type traffic struct {
	mu       sync.Mutex // guards counters, scopes and log
	counters map[string]*Counter
	scopes   map[string]*ScopeCounter
	log      []Event // the last longestLog, oldest first
}

func newTraffic() *traffic {
	return &traffic{counters: map[string]*Counter{}, scopes: map[string]*ScopeCounter{}}
}

func (t *traffic) begin(endpoint string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.counters[endpoint]
	if !ok {
		c = &Counter{Status: map[int]int{}}
		t.counters[endpoint] = c
	}
	c.Calls++
	c.InFlight++
	c.Peak = max(c.Peak, c.InFlight)
}

func (t *traffic) end(ev Event) {
	t.mu.Lock()
	c := t.counters[ev.Endpoint]
	c.InFlight--
	c.Status[ev.Status]++
	t.mu.Unlock()
	t.note(ev)
}

func (t *traffic) note(ev Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.log) == longestLog {
		t.log = append(t.log[:0], t.log[longestLog/2:]...) // forget the older half: cheap on average
	}
	t.log = append(t.log, ev)
}

func (t *traffic) snapshot() map[string]Counter {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]Counter{}
	for endpoint, c := range t.counters {
		cp := *c
		cp.Status = maps.Clone(c.Status)
		out[endpoint] = cp
	}
	return out
}

// reset forgets counts and log, but not what is in flight.
func (t *traffic) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.counters {
		*c = Counter{InFlight: c.InFlight, Peak: c.InFlight, Status: map[int]int{}}
	}
	clear(t.scopes)
	t.log = nil
}

func (t *traffic) events() []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Event{}, t.log...)
}

// observe answers one request with h: counted and logged.
func (e *Emulator) observe(w http.ResponseWriter, r *http.Request, endpoint, machine string, h http.HandlerFunc) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	e.traffic.begin(endpoint)
	defer e.observed(r, rec, Event{Time: start, Endpoint: endpoint, Machine: machine, Method: r.Method, Path: r.URL.Path})
	h(rec, r)
}

func (e *Emulator) observed(r *http.Request, rec *recorder, ev Event) {
	ev.Status, ev.Code, ev.Duration = rec.status, rec.code, Duration(time.Since(ev.Time))
	e.traffic.countRequest(ev)
	e.traffic.end(ev)
	e.log.DebugContext(r.Context(), "request", "endpoint", ev.Endpoint, "machine", ev.Machine, "method", ev.Method, "path", ev.Path, "status", ev.Status)
}

// recorder remembers the status that was written, and the code of the error.
type recorder struct {
	http.ResponseWriter
	status int
	code   string
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
