package dashboard

import (
	"cmp"
	"context"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A flowCard is a flow in the list.
type flowCard struct {
	ops.FlowInfo
	Steps   int
	Picture template.HTML
	Drift   []string
	Known   bool // whether the program declares it
}

// A flowsPage lists flows.
type flowsPage struct {
	Flows   []flowCard
	Hidden  int
	Missing []string // declared by the program and not in the database
}

func (h *Handler) listFlows(w http.ResponseWriter, r *http.Request) error {
	flows, err := h.flows(r.Context(), ranges[0].Span)
	if err != nil {
		return err
	}
	var page flowsPage
	shown, hidden := firstRows(flows)
	page.Hidden = hidden
	for _, info := range shown {
		def, err := spec.Parse(info.Slug, info.Definition)
		if err != nil {
			return err
		}
		card := flowCard{FlowInfo: info, Steps: len(def.Steps), Picture: miniature(def)}
		card.Drift, card.Known = h.drift(def)
		page.Flows = append(page.Flows, card)
	}
	for _, def := range h.config.Definitions {
		if !slices.ContainsFunc(flows, func(f ops.FlowInfo) bool { return f.Slug == def.Slug }) {
			page.Missing = append(page.Missing, def.Slug)
		}
	}
	f := h.frame(r, "flows", "Flows", page)
	f.Refresh = true
	return h.render(w, http.StatusOK, "flows", f)
}

// A flowPage shows one flow.
type flowPage struct {
	ops.FlowInfo
	Steps []stepOptions
	Graph *drawing
	Drift []string

	HiddenSteps, HiddenDrift int

	Known bool
	Runs  []ops.RunSummary
	State string // of its queue
	Like  string // the input to prefill

	Schedule *scheduleView // nil if it has none
	Unique   string        // which runs are alike, and what becomes of a second; empty if none are
}

// stepOptions are the options that apply to a step, including those of the flow.
type stepOptions struct {
	Slug                  string
	Map                   bool
	Wait                  bool // for an answer, for ever if there is no timeout
	Key                   string
	Turns                 string // its limits, and the key whose values take turns
	Deps                  []string
	Attempts              int
	Delay, Timeout, After time.Duration
	If, IfNot             string
	WhenUnmet             spec.Mode
	WhenExhausted         spec.Mode
	Tx                    spec.Tx       // the transaction that its handler writes in; empty if it has none
	Priority              spec.Priority // its own, else that of the flow; empty if it is normal
}

func effective(def spec.Flow) []stepOptions {
	var all []stepOptions
	for _, s := range def.Steps {
		o := stepOptions{
			Slug: s.Slug, Map: s.Type == spec.TypeMap, Deps: s.Deps,
			Attempts: cmp.Or(s.MaxAttempts, def.MaxAttempts, spec.DefaultMaxAttempts),
			Delay:    *cmp.Or(s.BaseDelay, def.BaseDelay, spec.Set(spec.DefaultBaseDelay)),
			Timeout:  cmp.Or(s.Timeout, def.Timeout, spec.DefaultTimeout),
			After:    s.StartDelay, Tx: s.Tx,
			If: shorten(string(s.If), mostText), IfNot: shorten(string(s.IfNot), mostText), WhenUnmet: s.WhenUnmet, WhenExhausted: s.WhenExhausted,
		}
		if s.Type == spec.TypeWait {
			o.Wait, o.Key, o.Timeout = true, s.Key.String(), s.Timeout
		} else {
			o.Turns = s.Limits().At(s.Gate, s.Key.String())
		}
		if p := cmp.Or(s.Priority, def.Priority); p != spec.PriorityNormal && !o.Wait {
			o.Priority = p
		}
		if o.WhenExhausted == "" {
			o.WhenExhausted = spec.ModeFail
		}
		all = append(all, o)
	}
	return all
}

// describeUnique says which runs of a flow are alike, and what becomes of a start of another.
func describeUnique(u *spec.Unique) string {
	if u == nil {
		return ""
	}
	var by []string
	for _, path := range u.By {
		by = append(by, path.String())
	}
	text := "Unique by " + strings.Join(by, ", ")
	if u.Debounce > 0 {
		return text + ": a run begins " + took(u.Debounce) + " after the last start like it, at most " + took(u.DebounceMax) + " after the first"
	}
	if u.Per > 0 {
		text += " for " + took(u.Per)
	} else {
		text += " until it ends"
	}
	switch u.OnDuplicate {
	case spec.DuplicateReplace:
		return text + ": a start like it replaces it"
	case spec.DuplicateError:
		return text + ": a start like it is an error"
	}
	return text + ": a start like it returns it"
}

func (h *Handler) showFlow(w http.ResponseWriter, r *http.Request) error {
	flows, err := h.flows(r.Context(), ranges[0].Span)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(flows, func(f ops.FlowInfo) bool { return f.Slug == r.PathValue("slug") })
	if i < 0 {
		return errNoFlow
	}
	info := flows[i]
	def, err := spec.Parse(info.Slug, info.Definition)
	if err != nil {
		return err
	}
	graph, err := definitionGraph(def)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	runs, err := ops.ListRuns(ctx, h.db, ops.RunFilter{Flows: []string{info.Slug}, Limit: 10})
	if err = h.tolerate(r.Context(), err); err != nil {
		return err
	}
	h.redactRuns(runs)
	page := flowPage{FlowInfo: info, Graph: graph, Runs: runs, State: queueState(info, time.Now())}
	page.Steps, page.HiddenSteps = firstRows(effective(def))
	page.Unique = describeUnique(def.Unique)
	if page.Like, err = h.exampleInput(ctx, runs); err != nil {
		return err
	}
	if page.Schedule, err = h.scheduleOf(ctx, info.Slug); err != nil {
		return err
	}
	page.Drift, page.Known = h.drift(def)
	page.Drift, page.HiddenDrift = firstRows(page.Drift)
	f := h.frame(r, "flows", info.Slug, page)
	f.Refresh = true
	return h.render(w, http.StatusOK, "flow", f)
}

// exampleInput returns the input of the newest run, to prefill the form with.
func (h *Handler) exampleInput(ctx context.Context, runs []ops.RunSummary) (string, error) {
	if len(runs) == 0 || h.config.Redact != nil {
		return "{}", nil
	}
	payloads, err := ops.ListPayloads(ctx, h.db, runs[0].ID, inlineBytes)
	if err != nil {
		return "", err
	}
	for _, p := range payloads {
		if p.Kind == ops.PayloadRunInput && p.JSON != nil {
			return string(indented(p.JSON)), nil
		}
	}
	return "{}", nil
}
