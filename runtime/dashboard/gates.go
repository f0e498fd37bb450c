package dashboard

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// gatesPerPage is how many gates are on a page, each key counted for itself.
const gatesPerPage = 100

// A gateView is a gate with one of its keys.
type gateView struct {
	ops.Gate
	First bool // whether it is the first of its keys: the limits are those of all
}

// ID returns what tells its forms from others on the page, also when that is read anew.
func (g gateView) ID() string {
	sum := fnv.New64a()
	_, _ = io.WriteString(sum, g.Name+"\x00"+g.Key+"\x00"+g.Shard)
	return strconv.FormatUint(sum.Sum64(), 36)
}

// Used returns how much of its concurrency is in use, as a text: "3 of 5".
func (g gateView) Used() string {
	if g.Limits.Concurrency == 0 {
		return count(g.InFlight)
	}
	return count(g.InFlight) + " of " + count(g.Limits.Concurrency)
}

// OfRuns reports whether it limits the runs of a flow, and not tasks.
func (g gateView) OfRuns() bool { return strings.HasSuffix(g.Name, ".run") }

// Rated reports whether a rate limits it.
func (g gateView) Rated() bool { return g.Limits.Rate != spec.Rate{} }

// Full reports whether it has no room although tasks wait.
func (g gateView) Full() bool {
	return g.Waiting > 0 && (g.Limits.Concurrency > 0 && g.InFlight >= g.Limits.Concurrency || g.Rated() && g.Tokens < 1)
}

// A gatesPage lists gates.
type gatesPage struct {
	Gates []gateView
	Flow  string // what it is filtered by
	First bool
	Next  string // address of the next page
}

func (h *Handler) listGates(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	query := r.URL.Query()
	page := gatesPage{Flow: query.Get("flow"), First: !query.Has("after")}
	gates, err := ops.ListGates(ctx, h.db, ops.GateFilter{Flow: page.Flow, AfterGate: query.Get("after"), AfterKey: query.Get("key"), Limit: gatesPerPage + 1})
	if errors.Is(err, runtime.ErrNeedsEngine) {
		err = nil
	}
	if err = h.tolerate(ctx, err); err != nil {
		return err
	}
	if len(gates) > gatesPerPage {
		gates = gates[:gatesPerPage]
		last := gates[gatesPerPage-1]
		next := url.Values{"after": {last.Name}, "key": {last.Key}}
		if page.Flow != "" {
			next.Set("flow", page.Flow)
		}
		page.Next = address(h.config.Prefix+"/gates", next)
	}
	for i, g := range gates {
		page.Gates = append(page.Gates, gateView{Gate: g, First: i == 0 || gates[i-1].Name != g.Name})
	}
	f := h.frame(r, "gates", "Gates", page)
	f.Refresh = page.First
	return h.render(w, http.StatusOK, "gates", f)
}

// actOnGate changes or holds a gate.
func (h *Handler) actOnGate(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r); err != nil {
		return err
	}
	action, name := Action(r.PathValue("action")), r.PostForm.Get("gate")
	if err := h.authorizeAction(r, action); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	var err error
	switch action {
	case ActionSetGate:
		var limits ops.GateLimits
		if limits, err = readLimits(r.PostForm); err == nil {
			err = ops.SetGate(ctx, h.db, name, limits)
		}
	case ActionHoldGate:
		d, bad := time.ParseDuration(strings.TrimSpace(r.PostForm.Get("for")))
		if bad != nil || d <= 0 {
			return badRequest("How long the gate is held cannot be read. Write it as 10m or 1h30m; go back, and what you wrote is still there.")
		}
		var key *string
		if !r.PostForm.Has("all") {
			key = spec.Set(r.PostForm.Get("key"))
		}
		err = ops.HoldGate(ctx, h.db, name, key, d)
	case ActionFreeGate: // of all keys, and of this one
		if err = ops.HoldGate(ctx, h.db, name, nil, 0); err == nil && r.PostForm.Has("key") {
			err = ops.HoldGate(ctx, h.db, name, spec.Set(r.PostForm.Get("key")), 0)
		}
	default:
		return errNoPage
	}
	switch {
	case errors.Is(err, ops.ErrGateNotFound):
		return errNoGate
	case errors.Is(err, runtime.ErrInvalidOption):
		return badRequest(err.Error())
	case err != nil:
		return err
	}
	h.note(r, action, name)
	values := url.Values{}
	if flow := r.PostForm.Get("flow"); flow != "" {
		values.Set("flow", flow)
	}
	redirect(w, r, h.config.Prefix+"/gates", values, action, 1, 1)
	return nil
}

// readLimits reads the limits of a form. What is empty is as declared.
func readLimits(form url.Values) (limits ops.GateLimits, err error) {
	if form.Has("declared") {
		return limits, nil
	}
	if text := strings.TrimSpace(form.Get("concurrency")); text != "" {
		if limits.Concurrency, err = strconv.Atoi(text); err != nil || limits.Concurrency < 1 {
			return limits, badRequest("How many tasks may be in flight is not a whole number of at least 1. To stop the gate, hold it.")
		}
	}
	if text := strings.TrimSpace(form.Get("rate")); text != "" {
		if limits.Rate, err = spec.ParseRate(text); err != nil {
			return limits, badRequest("The rate cannot be read: " + err.Error() + ".")
		}
	}
	return limits, nil
}
