package churn_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
)

// ServeHTTP answers the agent.
func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if text, ok := discovery(r.URL.Path); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	for k := range kinds {
		plural := k.resource().plural
		if !strings.HasSuffix(r.URL.Path, "/"+plural) {
			continue
		}
		if want := selectors(k); r.FormValue("fieldSelector")+r.FormValue("labelSelector") != want {
			a.refuse(w, http.StatusForbidden, fmt.Sprintf("the agent asks for more %s than those of its node", plural))
			return
		}
		watching := r.FormValue("watch") == "true" || r.FormValue("watch") == "1"
		switch {
		case watching && a.expired(w, k): // before anything else
		case !a.await(r, k):
		case watching:
			a.watch(w, r, k)
		default:
			a.list(w, r, k)
		}
		return
	}
	a.refuse(w, http.StatusNotFound, "NotFound "+r.URL.Path)
}

func (a *apiServer) refuse(w http.ResponseWriter, code int, why string) {
	a.mu.Lock()
	a.broken = fmt.Errorf("the API server was asked: %s", why)
	a.mu.Unlock()
	w.WriteHeader(code)
	_, _ = io.WriteString(w, status(code, why))
}

// selectors is by what the agent must narrow its view of a kind.
func selectors(k kind) string {
	switch k {
	case pods:
		return "spec.nodeName=" + nodeName
	case assigned:
		return v1.LabelNodeName + "=" + nodeName
	default:
		return ""
	}
}

// expired answers 410 where a watch asks for what is too old.
func (a *apiServer) expired(w http.ResponseWriter, k kind) bool {
	a.mu.Lock()
	gone := a.kinds[k].gone
	a.kinds[k].gone = false
	a.mu.Unlock()
	if gone {
		w.WriteHeader(http.StatusGone)
		_, _ = io.WriteString(w, status(http.StatusGone, "Expired"))
	}
	return gone
}

// refresh has the kind told as it is now, if that is asked for: "" is.
func (a *apiServer) refresh(k kind, version string) {
	w := a.kinds[k]
	if version != "" {
		return
	}
	if len(w.queue) > 0 {
		a.lists++
		a.replaced()
		for _, e := range w.queue {
			store(a.told, k, e.key, e.object)
		}
		a.replaced()
	}
	w.queue, w.version = nil, a.version
}

// list answers with what is there, or with what was told last.
func (a *apiServer) list(w http.ResponseWriter, r *http.Request, k kind) {
	a.mu.Lock()
	a.refresh(k, r.FormValue("resourceVersion"))
	version := a.kinds[k].version
	var items []string
	for _, o := range all(a.told, k) {
		items = append(items, string(a.encode(o, version)))
	}
	a.mu.Unlock()
	res := k.resource()
	_, _ = fmt.Fprintf(w, `{"apiVersion":%q,"kind":"%sList","metadata":{"resourceVersion":"%d"},"items":[%s]}`, res.version, res.name, version, strings.Join(items, ","))
}

// watch tells what changes until it is cut or the agent leaves.
func (a *apiServer) watch(w http.ResponseWriter, r *http.Request, k kind) {
	s := &stream{out: make(chan []byte), stop: make(chan struct{}), done: make(chan struct{})}
	var initial []byte
	a.mu.Lock()
	watched, version := a.kinds[k], r.FormValue("resourceVersion")
	if initially := r.FormValue("sendInitialEvents") == "true"; initially && !a.streams {
		a.mu.Unlock()
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, status(http.StatusUnprocessableEntity, "Invalid"))
		return
	} else if initially {
		a.refresh(k, version)
		for _, o := range all(a.told, k) {
			initial = append(initial, a.line(event{object: o, version: watched.version})...)
		}
		initial = append(initial, bookmark(k, watched.version, `,"annotations":{"k8s.io/initial-events-end":"true"}`)...)
	} else if version != fmt.Sprint(watched.version) {
		a.mu.Unlock()
		w.WriteHeader(http.StatusGone)
		_, _ = io.WriteString(w, status(http.StatusGone, "Expired"))
		return
	}
	watched.stream = s
	a.mu.Unlock()
	defer close(s.done)
	defer a.ended(k, s)
	flush := http.NewResponseController(w)
	_, _ = w.Write(initial) // an agent that has left is seen below
	_ = flush.Flush()
	for {
		select {
		case text := <-s.out:
			_, _ = w.Write(text) // as above
			_ = flush.Flush()
		case <-s.stop:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// ended forgets a watch.
func (a *apiServer) ended(k kind, s *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kinds[k].stream == s {
		a.kinds[k].stream = nil
	}
}

// discovery is what the server serves.
func discovery(path string) (string, bool) {
	of := func(version, list string) string {
		return fmt.Sprintf(`{"kind":"APIResourceList","apiVersion":"v1","groupVersion":%q,"resources":[%s]}`, version, list)
	}
	entry := func(k kind, name string, namespaced bool) string {
		return fmt.Sprintf(`{"name":%q,"singularName":"","namespaced":%t,"kind":%q,"verbs":["get","list","watch"]}`, k.resource().plural, namespaced, name)
	}
	switch path {
	case "/api":
		return `{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[]}`, true
	case "/apis":
		return fmt.Sprintf(`{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":%q,"versions":[{"groupVersion":%q,"version":"v1"}],"preferredVersion":{"groupVersion":%[2]q,"version":"v1"}}]}`, v1.GroupVersion.Group, v1.GroupVersion), true
	case "/api/v1":
		return of("v1", entry(pods, "Pod", true)+","+entry(namespaces, "Namespace", false)), true
	case "/apis/" + v1.GroupVersion.String():
		var list []string
		for _, k := range []kind{identities, bindings, assigned, exceptions} {
			list = append(list, entry(k, k.resource().name, true))
		}
		return of(v1.GroupVersion.String(), strings.Join(list, ",")), true
	default:
		return "", false
	}
}
