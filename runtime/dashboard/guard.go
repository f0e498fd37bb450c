package dashboard

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// policy allows a page only what is served with it: no inline script or style, so that a
// payload which got into a page as markup could do nothing.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.stats.requests.Add(1)
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	r = h.withoutPrefix(r)
	if err := h.admit(r); err != nil {
		h.report(w, r, err)
		return
	}
	h.routes.ServeHTTP(w, r)
}

// withoutPrefix strips the prefix from the path, if the request has it.
func (h *Handler) withoutPrefix(r *http.Request) *http.Request {
	path, ok := cutPrefix(r.URL.Path, h.config.Prefix)
	if !ok {
		return r
	}
	raw, _ := cutPrefix(r.URL.RawPath, h.config.Prefix)
	stripped := new(http.Request)
	*stripped = *r
	stripped.URL = new(url.URL)
	*stripped.URL = *r.URL
	stripped.URL.Path, stripped.URL.RawPath = path, raw
	return stripped
}

func cutPrefix(path, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(path, prefix)
	switch {
	case prefix == "" || !ok:
		return path, false
	case rest == "":
		return "/", true
	}
	return rest, strings.HasPrefix(rest, "/")
}

// admit refuses cross-site requests.
func (h *Handler) admit(r *http.Request) error {
	if r.URL.Path != "/healthz" && !h.knownHost(r.Host) {
		return &statusError{http.StatusMisdirectedRequest, "Unknown host",
			"The dashboard is not known by the name " + r.Host + ". If it should be, add the name to Config.Hosts, or to --host of flowc dashboard."}
	}
	if err := h.origins.Check(r); err != nil {
		return &statusError{http.StatusForbidden, "Not from here", "The request came from a page of another site."}
	}
	if !isText(r.URL.Path) || !areText(r.URL.Query()) {
		return errNoText
	}
	// A browser sends the origin of a form. A request without one is not from our forms.
	if r.Method == http.MethodPost && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return &statusError{http.StatusForbidden, "Not from here", "The request does not say where it comes from: it lacks the header Origin."}
	}
	return nil
}

// isText reports whether PostgreSQL can store or compare a text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// areText reports whether all of a form or query is text.
func areText(values url.Values) bool {
	for name, all := range values {
		if !isText(name) || slices.ContainsFunc(all, func(v string) bool { return !isText(v) }) {
			return false
		}
	}
	return true
}

// knownHost reports whether a browser may reach the dashboard under this name. An address
// is always allowed: only a name can be pointed somewhere else.
func (h *Handler) knownHost(hostport string) bool {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(h.config.Hosts, func(allowed string) bool {
		return allowed == "*" || strings.EqualFold(allowed, host)
	})
}

// authorize returns an error if a request may not perform an action.
func (h *Handler) authorize(r *http.Request, action Action) error {
	if h.config.ReadOnly && action != ActionView && action != ActionMetrics {
		return &statusError{http.StatusForbidden, "Read only", "This dashboard is for looking only."}
	}
	if h.config.Authorize == nil {
		return nil
	}
	if err := h.config.Authorize(r, action); err != nil {
		return &statusError{http.StatusForbidden, "Not allowed", err.Error()}
	}
	return nil
}

// allowed returns the actions that a request may perform.
func (h *Handler) allowed(r *http.Request) map[string]bool {
	all := map[string]bool{}
	for action := range notices {
		all[string(action)] = h.authorize(r, action) == nil
	}
	return all
}

// A statusError is a response with an error status, in words for the user.
type statusError struct {
	status int
	title  string
	text   string
}

func (e *statusError) Error() string { return e.text }

var (
	errNoText     = badRequest("The address or the form holds something that is no text: a zero byte, or bytes that are not UTF-8.")
	errNoPage     = &statusError{http.StatusNotFound, "Nothing here", "There is no such page."}
	errNoRun      = &statusError{http.StatusNotFound, "No such run", "The database does not have this run. It may have been deleted."}
	errNoFlow     = &statusError{http.StatusNotFound, "No such flow", "The database does not have this flow."}
	errNoSchedule = &statusError{http.StatusNotFound, "No schedule", "The database does not have this flow, or the flow has no schedule."}
	errNoGate     = &statusError{http.StatusNotFound, "No such gate", "No flow in the database has a step with this gate."}

	errNoStep = &statusError{http.StatusNotFound, "No such step", "The flow of this run does not have this step."}
)

func badRequest(text string) error {
	return &statusError{http.StatusBadRequest, "That was not understood", text}
}

// asStatus returns the response for an error; nil if its text is for the log only.
func asStatus(err error) *statusError {
	var status *statusError
	if errors.As(err, &status) {
		return status
	}
	return nil
}
