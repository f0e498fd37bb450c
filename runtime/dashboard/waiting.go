package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// waitsPerPage is how many waits are on a page, each with a form.
const waitsPerPage = 20

// A waitView is a step that waits for an answer, with the form for it.
type waitView struct {
	runtime.Waiting[handler.Values]
	Shown []value // what the one who answers is shown
	Form  answerForm
	Open  bool // whether it is all that the page is about
	Back  bool // whether the answer leads back to the list
}

// ID returns what tells the elements of its form from others on the page.
func (w waitView) ID() string { return w.Step + "-" + shortID(w.RunID) }

// A waitingPage lists the steps that wait for an answer, those that expire first before
// others.
type waitingPage struct {
	Waits      []waitView
	Counts     []ops.WaitCount
	Flow, Step string // what it is filtered by
	Total      int
	First      bool
	Next       string // address of the next page
	Again      bool   // whether it is about an answer that was refused
}

func (h *Handler) listWaiting(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	query := r.URL.Query()
	page := waitingPage{Flow: query.Get("flow"), Step: query.Get("step"), First: !query.Has("after")}
	filter := runtime.WaitingFilter{Limit: waitsPerPage + 1}
	if page.Flow != "" {
		filter.Flows = []string{page.Flow}
	}
	if page.Step != "" {
		filter.Steps = []string{page.Step}
	}
	if !page.First {
		filter.After = &runtime.WaitingCursor{RunID: query.Get("after"), Step: query.Get("of")}
		bad := uuid.Validate(filter.After.RunID)
		if until := query.Get("until"); until != "" && bad == nil {
			filter.After.Until, bad = time.Parse(time.RFC3339Nano, until)
		}
		if bad != nil {
			return badRequest("The address of this page is not whole: begin again at the first page.")
		}
	}
	waits, err := h.waits(ctx, filter)
	if err != nil {
		return err
	}
	if page.Counts, err = h.waitCounts(ctx); err != nil {
		return err
	}
	page.Total, _ = waitTotal(page.Counts)
	if len(waits) > waitsPerPage {
		waits = waits[:waitsPerPage]
		last := waits[waitsPerPage-1].Cursor()
		next := url.Values{"after": {last.RunID}, "of": {last.Step}}
		if !last.Until.IsZero() {
			next.Set("until", last.Until.Format(time.RFC3339Nano))
		}
		for name, chosen := range map[string]string{"flow": page.Flow, "step": page.Step} {
			if chosen != "" {
				next.Set(name, chosen)
			}
		}
		page.Next = address(h.config.Prefix+"/waiting", next)
	}
	for i := range waits {
		waits[i].Back, waits[i].Open = true, len(waits) == 1
	}
	page.Waits = waits
	f := h.frame(r, "waiting", "Waiting", page)
	f.Refresh = page.First
	return h.render(w, http.StatusOK, "waiting", f)
}

// waits returns steps that wait, with their forms. A database without flowc's engine has
// none.
func (h *Handler) waits(ctx context.Context, filter runtime.WaitingFilter) ([]waitView, error) {
	waits, err := runtime.ListWaiting(ctx, h.db, filter)
	if errors.Is(err, runtime.ErrNeedsEngine) {
		return nil, nil
	}
	if err = h.tolerate(ctx, err); err != nil {
		return nil, err
	}
	definitions := map[string]spec.Flow{}
	var views []waitView
	room := pageBytes
	for _, wait := range waits {
		def, known := definitions[wait.Flow]
		if !known {
			if def, err = ops.GetDefinition(ctx, h.db, wait.Flow); err != nil {
				return nil, err
			}
			definitions[wait.Flow] = def
		}
		view := waitView{Waiting: wait}
		step := def.Step(wait.Step)
		if step == nil {
			return nil, errNoStep
		}
		view.Key = h.redactedText(wait.Flow, keySource(step), wait.Key)
		schema, err := step.AnswerSchema()
		if err != nil {
			return nil, err
		}
		view.Form = newForm(schema)
		view.Shown = h.shown(wait, step.Shown, &room)
		views = append(views, view)
	}
	return views, nil
}

// shown returns what the one who answers is shown, as long as the page has room for it:
// what the step takes, or everything if the definition does not say that.
func (h *Handler) shown(wait runtime.Waiting[handler.Values], takes *spec.Result, room *int) (all []value) {
	path := h.config.Prefix + "/runs/" + url.PathEscape(wait.RunID) + "/payload"
	v := &values{h: h, run: &runtime.RunInfo{ID: wait.RunID, Flow: wait.Flow}, path: path, room: *room}
	add := func(label, step string, raw []byte, where url.Values) value {
		size := len(raw)
		if size > inlineBytes {
			raw = nil
		}
		return v.made(label, step, raw, size, where)
	}
	var outputs map[string]json.RawMessage
	_ = json.Unmarshal(wait.Input.Outputs, &outputs) // an object of the database, or nothing
	for _, part := range parts(takes, slices.Sorted(maps.Keys(outputs))) {
		output, there := outputs[part.From]
		switch {
		case part.From == spec.RunKey:
			all = append(all, add(cmp.Or(part.Name, "Input of the run"), "", wait.Input.Input, url.Values{"of": {string(ops.PayloadRunInput)}}))
		case there: // it may have been skipped
			all = append(all, add(cmp.Or(part.Name, "Output of "+part.From), part.From, output, url.Values{"of": {string(ops.PayloadStepOutput)}, "step": {part.From}}))
		}
	}
	*room = v.room
	return all
}

// keySource returns the step whose output has the key with which a step waits, empty if it
// is in the input of the run.
func keySource(step *spec.Step) string {
	if len(step.Key) == 0 || step.Key[0] == spec.RunKey {
		return ""
	}
	return step.Key[0]
}

// parts returns the parts of what a step takes that waits for steps: all that there is if the
// definition does not say.
func parts(takes *spec.Result, steps []string) (all []spec.ResultField) {
	switch {
	case takes == nil:
		all = append(all, spec.ResultField{From: spec.RunKey})
		for _, step := range steps {
			all = append(all, spec.ResultField{From: step})
		}
		return all
	case takes.From != "":
		return []spec.ResultField{{From: takes.From}}
	}
	return takes.Fields
}

// waitCounts counts the steps that wait.
func (h *Handler) waitCounts(ctx context.Context) ([]ops.WaitCount, error) {
	return cached(ctx, h, "waits", func(ctx context.Context) ([]ops.WaitCount, error) {
		counts, err := ops.CountWaits(ctx, h.db)
		if errors.Is(err, runtime.ErrNeedsEngine) {
			err = nil
		}
		return append([]ops.WaitCount{}, counts...), err
	})
}

// waitTotal returns how many steps wait, and since when the first of them does.
func waitTotal(counts []ops.WaitCount) (n int, oldest time.Time) {
	for _, c := range counts {
		n += c.Waiting
		if oldest.IsZero() || c.Oldest.Before(oldest) {
			oldest = c.Oldest
		}
	}
	return n, oldest
}

// overdueRequests returns what was requested of runs and is not done although a worker should
// have.
func (h *Handler) overdueRequests(ctx context.Context) ([]ops.Request, error) {
	return cached(ctx, h, "requests", func(ctx context.Context) ([]ops.Request, error) {
		requests, err := ops.ListRequests(ctx, h.db, time.Now().Add(-overdueAfter), mostRows)
		if errors.Is(err, runtime.ErrNeedsEngine) {
			err = nil
		}
		return append([]ops.Request{}, requests...), err
	})
}

// requestWarnings returns what is wrong with requests, by flow.
func (h *Handler) requestWarnings(requests []ops.Request) []warning {
	var all []warning
	for i, r := range requests {
		if slices.ContainsFunc(requests[:i], func(o ops.Request) bool { return o.Flow == r.Flow && (o.Error == "") == (r.Error == "") }) {
			continue
		}
		n := 0
		for _, o := range requests {
			if o.Flow == r.Flow && (o.Error == "") == (r.Error == "") {
				n++
			}
		}
		text := plural(n, "request is", "requests are") + " not done yet, the first (" + r.Action + ") after " + took(time.Since(r.At)) + ": no worker applies them"
		if r.Error != "" {
			text = plural(n, "request", "requests") + " could not be done, the first (" + r.Action + "): " + firstLine(h.redactedText(r.Flow, "", r.Error))
		}
		all = append(all, warning{r.Flow, text, true})
	}
	return all
}

// answer sends the answer of a form, or shows the form again with what is wrong.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, r *http.Request, id string) error {
	step := r.PostForm.Get("step")
	waits, err := h.waits(ctx, runtime.WaitingFilter{RunID: id, Steps: []string{step}, Limit: 1})
	if err != nil {
		return err
	}
	run, err := runtime.GetRun(ctx, h.db, id, runtime.WithoutPayloads())
	if err != nil {
		return err
	}
	def, err := ops.GetDefinition(ctx, h.db, run.Flow)
	if err != nil {
		return err
	}
	answered := def.Step(step)
	if answered == nil {
		return errNoStep
	}
	schema, err := answered.AnswerSchema()
	if err != nil {
		return err
	}
	form := newForm(schema)
	raw, ok := form.read(schema, r.PostForm)
	if !ok && len(waits) > 0 {
		waits[0].Form, waits[0].Open, waits[0].Back = form, true, r.PostForm.Has("waiting")
		return h.render(w, http.StatusUnprocessableEntity, "waiting", h.frame(r, "waiting", "Answer "+step, waitingPage{Waits: waits, Again: true, First: true}))
	}
	signalled := runtime.Already
	if ok { // a step that does not wait yet can be answered, too
		signalled, err = runtime.Signal(ctx, h.db, id, step, raw, runtime.WithSender(h.user(r)))
	}
	return h.signalled(w, r, ActionAnswer, id, signalled, err)
}

// failWait ends a wait without an answer.
func (h *Handler) failWait(ctx context.Context, w http.ResponseWriter, r *http.Request, id string) error {
	signalled, err := runtime.FailWait(ctx, h.db, id, r.PostForm.Get("step"), r.PostForm.Get("reason"), runtime.WithSender(h.user(r)))
	return h.signalled(w, r, ActionFailWait, id, signalled, err)
}

// signalled sends the browser to what became of an answer.
func (h *Handler) signalled(w http.ResponseWriter, r *http.Request, action Action, id string, result runtime.Signalled, err error) error {
	var wrong *runtime.InputError
	switch {
	case errors.As(err, &wrong):
		return badRequest(wrong.Error())
	case err != nil && !errors.Is(err, runtime.ErrNotWaiting):
		return err
	}
	done := 0
	if err == nil && result == runtime.Accepted {
		done = 1
		h.cache.clear()
		h.note(r, action, id+" "+r.PostForm.Get("step"))
	}
	to := h.config.Prefix + "/runs/" + url.PathEscape(id)
	if r.PostForm.Has("waiting") {
		to = h.config.Prefix + "/waiting"
	}
	redirect(w, r, to, url.Values{}, action, done, 1)
	return nil
}

// user returns who makes a request, as far as the program says so.
func (h *Handler) user(r *http.Request) string {
	if h.config.User == nil {
		return ""
	}
	return h.config.User(r)
}
