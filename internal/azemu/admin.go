package azemu

import (
	"encoding/json"
	"net/http"
)

// adminError is the body of every answer of the admin API that is not a success.
type adminError struct {
	Error string `json:"error"`
}

// Admin serves the admin API: plain HTTP and JSON, without any authentication.
//
//	GET    /state              State
//	PUT    /state              replaces it
//	POST   /state              merges into it
//	GET    /counters           map of endpoint to Counter
//	GET    /counters/scopes    map of path to ScopeCounter
//	POST   /counters/reset     forgets counts and log
//	GET    /log                list of Event, the oldest first
//	GET    /faults             map of endpoint to list of Fault
//	PUT    /faults/{endpoint}  sets a Fault
//	POST   /faults/{endpoint}  adds one
//	DELETE /faults/{endpoint}  removes all
//	POST   /edit               has somebody else carry out an Edit
//	POST   /identity/delete    deletes the Identity with the id in the body
//	POST   /identity/recreate  makes it anew, and answers with it
//	GET    /ca.pem             the authority behind the TLS listener
//
// A change is answered with 204; what makes no sense with 400 and a JSON object
// whose error is a sentence.
func (e *Emulator) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", show(e.State))
	mux.HandleFunc("PUT /state", accept(func(_ *http.Request, s State) error { return e.SetState(s) }))
	mux.HandleFunc("POST /state", accept(func(_ *http.Request, s State) error { return e.MergeState(s) }))
	mux.HandleFunc("GET /counters", show(e.Counters))
	mux.HandleFunc("GET /counters/scopes", show(e.ScopeCounters))
	mux.HandleFunc("POST /counters/reset", func(w http.ResponseWriter, _ *http.Request) {
		e.ResetCounters()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /log", show(e.Events))
	mux.HandleFunc("GET /faults", show(e.faults.all))
	mux.HandleFunc("PUT /faults/{endpoint}", accept(func(r *http.Request, f Fault) error {
		return e.SetFault(r.PathValue("endpoint"), f)
	}))
	mux.HandleFunc("POST /faults/{endpoint}", accept(func(r *http.Request, f Fault) error {
		return e.AddFault(r.PathValue("endpoint"), f)
	}))
	mux.HandleFunc("DELETE /faults/{endpoint}", func(w http.ResponseWriter, r *http.Request) {
		e.ClearFault(r.PathValue("endpoint"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /edit", accept(func(_ *http.Request, x Edit) error { return e.Edit(x) }))
	mux.HandleFunc("POST /identity/delete", accept(func(_ *http.Request, i Identity) error { return e.DeleteIdentity(i.ID) }))
	mux.HandleFunc("POST /identity/recreate", answer(func(i Identity) (Identity, error) { return e.RecreateIdentity(i.ID) }))
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(e.CA()) // the client is gone when this fails
	})
	return mux
}

// Counters are the requests so far, by endpoint.
func (e *Emulator) Counters() map[string]Counter { return e.traffic.snapshot() }

// ResetCounters forgets the requests so far, the log among them.
func (e *Emulator) ResetCounters() { e.traffic.reset() }

// Events are the last requests and ends of operations, the oldest first. A
// request is among them once it was answered, with the time at which it came.
func (e *Emulator) Events() []Event { return e.traffic.events() }

func show[T any](get func() T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, get()) }
}

// accept reads a T from the body, strictly, and gives it to set.
func accept[T any](set func(*http.Request, T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := read[T](w, r)
		if err == nil {
			err = set(r, v)
		}
		if err != nil {
			writeJSON(w, http.StatusBadRequest, adminError{Error: err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// answer reads a T from the body, strictly, and shows what get makes of it.
func answer[T any](get func(T) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := read[T](w, r)
		if err == nil {
			v, err = get(v)
		}
		if err != nil {
			writeJSON(w, http.StatusBadRequest, adminError{Error: err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, v)
	}
}

func read[T any](w http.ResponseWriter, r *http.Request) (v T, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, longestBody))
	d.DisallowUnknownFields()
	err = d.Decode(&v)
	return v, err
}
