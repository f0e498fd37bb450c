package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

const (
	// mostAtOnce is how many runs an action on a list may affect.
	mostAtOnce = 1000
	// bulkTime bounds such an action.
	bulkTime = time.Minute
	// formBytes bounds what a form may send: the ids of a page of runs are 2 kB, and
	// an input that somebody writes by hand is not longer.
	formBytes = 1 << 20
)

// act performs one action on one run. argument is the reason to cancel it, or its priority.
// done is false if the run no longer was in the right state for it.
func (h *Handler) act(ctx context.Context, action Action, id, step, argument string) (done bool, err error) {
	switch action {
	case ActionCancel:
		err = runtime.CancelRun(ctx, h.db, id, argument)
	case ActionRetry:
		err = runtime.RetryRun(ctx, h.db, id)
	case ActionRetryStep:
		err = runtime.RetryStep(ctx, h.db, id, step)
	case ActionRunNow:
		var tasks int
		if tasks, err = ops.RunNow(ctx, h.db, id, step); err == nil {
			return tasks > 0, nil
		}
	case ActionSetPriority:
		err = runtime.SetPriority(ctx, h.db, id, runtime.Priority(argument))
	case ActionDelete:
		// The dialog asked for confirmation, and says what is lost.
		return runtime.DeleteRun(ctx, h.db, id, runtime.AllowDataLoss())
	default:
		return false, errNoPage
	}
	if errors.Is(err, runtime.ErrWrongStatus) {
		return false, nil
	}
	return err == nil, err
}

// actOnOne performs the action of a form on the page of a run.
func (h *Handler) actOnOne(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r); err != nil {
		return err
	}
	action, id := Action(r.PathValue("action")), r.PathValue("id")
	if err := h.authorizeAction(r, action); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	switch action {
	case ActionAnswer:
		return h.answer(ctx, w, r, id)
	case ActionFailWait:
		return h.failWait(ctx, w, r, id)
	}
	done, err := h.act(ctx, action, id, r.PostForm.Get("step"), cmp.Or(r.PostForm.Get("priority"), r.PostForm.Get("reason")))
	values := url.Values{}
	if errors.Is(err, runtime.ErrRequested) {
		done, err = true, nil
		values.Set("requested", "1")
	}
	if err != nil {
		return err
	}
	h.note(r, action, id)
	to := h.config.Prefix + "/runs/" + url.PathEscape(id)
	if action == ActionDelete {
		to = h.config.Prefix + "/runs"
	}
	counted := 0
	if done {
		counted = 1
	}
	redirect(w, r, to, values, action, counted, 1)
	return nil
}

// actOnMany performs the action of the form below the list of runs, on the selected runs
// or on all that match the list's filters.
func (h *Handler) actOnMany(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r); err != nil {
		return err
	}
	action := Action(r.PostForm.Get("action"))
	if err := h.authorizeAction(r, action); err != nil {
		return err
	}
	if !slices.Contains(bulkActions, action) {
		return errNoPage // the others are only for a single run
	}
	back, err := url.ParseQuery(r.PostForm.Get("back"))
	if err != nil {
		return badRequest("The list's filters cannot be read.")
	}
	query, err := parseRunsQuery(back)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), bulkTime)
	defer cancel()
	ids := r.PostForm["id"]
	if r.PostForm.Get("scope-"+string(action)) == "all" {
		if ids, err = h.matching(ctx, query); err != nil {
			return err
		}
	}
	if len(ids) > mostAtOnce {
		return badRequest(fmt.Sprintf("%d runs are too many at once, %d is the most.", len(ids), mostAtOnce))
	}
	done := 0
	defer func() { h.note(r, action, fmt.Sprintf("%d of %d runs", done, len(ids))) }() // also if an error ends it
	for _, id := range ids {
		ok, err := h.act(ctx, action, id, "", r.PostForm.Get("reason"))
		switch {
		case errors.Is(err, runtime.ErrRunNotFound), errors.As(err, new(*runtime.DuplicateRunError)):
		case errors.Is(err, runtime.ErrRequested):
			done++
		case err != nil:
			return err
		case ok:
			done++
		}
	}
	redirect(w, r, h.config.Prefix+"/runs", query.values(), action, done, len(ids))
	return nil
}

// actOnFlow performs the action of a form about a flow.
func (h *Handler) actOnFlow(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r); err != nil {
		return err
	}
	action, slug := Action(r.PathValue("action")), r.PathValue("slug")
	if err := h.authorizeAction(r, action); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	to, done := h.config.Prefix+"/flows/"+url.PathEscape(slug), 0
	switch action {
	case ActionStart:
		run, err := h.start(ctx, slug, r.PostForm)
		if err != nil {
			return err
		}
		to, done = h.config.Prefix+"/runs/"+url.PathEscape(run), 1
	case ActionPause, ActionResume:
		var changed bool
		var err error
		if action == ActionPause {
			changed, err = ops.PauseFlow(ctx, h.db, slug, cmp.Or(h.user(r), userOf(r)))
		} else {
			changed, err = ops.ResumeFlow(ctx, h.db, slug)
		}
		if err != nil {
			return err
		}
		if changed {
			done = 1
			h.cache.clear()
		}
		if r.PostForm.Has("queues") {
			to = h.config.Prefix + "/queues"
		}
	case ActionPauseSchedule, ActionResumeSchedule, ActionRunSchedule:
		run, changed, err := h.actOnSchedule(ctx, action, slug, r.PostForm.Get("reason"))
		if err != nil {
			return err
		}
		if changed {
			done = 1
		}
		switch {
		case run != "":
			to = h.config.Prefix + "/runs/" + url.PathEscape(run)
		case r.PostForm.Has("schedules"):
			to = h.config.Prefix + "/schedules"
		}
	default:
		return errNoPage
	}
	h.note(r, action, slug)
	redirect(w, r, to, url.Values{}, action, done, 1)
	return nil
}

// start starts a run with the input in a form, or with that of another run.
func (h *Handler) start(ctx context.Context, slug string, form url.Values) (id string, err error) {
	input := json.RawMessage(form.Get("input"))
	if like := form.Get("like"); like != "" {
		found, err := ops.GetPayload(ctx, h.db, like, ops.PayloadFilter{Kind: ops.PayloadRunInput})
		switch {
		case err != nil:
			return "", err
		case found == nil:
			return "", errNoRun
		}
		input = found.JSON
	}
	if !json.Valid(input) {
		return "", badRequest(`The input is not JSON. Write it as {"order_id": 1001}; go back, and what you wrote is still there.`)
	}
	run, err := runtime.StartFlow(ctx, h.db, slug, input)
	var wrong *runtime.InputError
	if errors.As(err, &wrong) {
		return "", badRequest(wrong.Error())
	}
	if err != nil {
		return "", err
	}
	return run.ID(), nil
}

// matching returns the ids of the runs that a list would show on all its pages.
func (h *Handler) matching(ctx context.Context, query runsQuery) ([]string, error) {
	filter, err := h.filter(query, mostAtOnce, time.Now())
	if err != nil {
		return nil, err
	}
	runs, err := ops.ListRuns(ctx, h.db, filter)
	if err = h.tolerate(ctx, err); err != nil {
		return nil, err
	}
	ids := make([]string, len(runs))
	for i, run := range runs {
		ids[i] = run.ID
	}
	return ids, nil
}

func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, formBytes)
	if err := r.ParseForm(); err != nil {
		return badRequest("The form cannot be read.")
	}
	if !areText(r.PostForm) {
		return errNoText
	}
	return nil
}

// authorizeAction checks that a viewer may perform an action.
func (h *Handler) authorizeAction(r *http.Request, action Action) error {
	if _, known := notices[action]; !known {
		return errNoPage
	}
	if err := h.authorize(r, ActionView); err != nil {
		return err
	}
	return h.authorize(r, action)
}

// note logs who did what.
func (h *Handler) note(r *http.Request, action Action, what string) {
	h.stats.actions.Add(1)
	h.log.InfoContext(r.Context(), "flowc: dashboard: action", "action", action, "on", what, "from", r.RemoteAddr)
}

// notices are the messages after an action: on one run, on several, and on none.
var notices = map[Action]struct{ one, many, none string }{
	ActionCancel:      {"The run was cancelled.", "%s were cancelled.", "Nothing was cancelled: runs that have ended stay as they are."},
	ActionRetry:       {"The run was resumed.", "%s were resumed.", "Nothing was retried: only runs that failed or were cancelled can be."},
	ActionRetryStep:   {"The run was resumed from that step.", "%s were resumed.", "Nothing was retried: the run has not ended, or the step stays skipped because of another."},
	ActionRunNow:      {"The delayed tasks start now.", "%s start now.", "No task was delayed."},
	ActionSetPriority: {"The priority was changed.", "The priority of %s was changed.", "Nothing was changed: the run has completed."},
	ActionAnswer:      {"The answer was sent: a worker goes on with the run.", "%s were answered.", "Nothing was answered: there is an answer already, or the step no longer waits."},
	ActionFailWait:    {"The wait was ended.", "The waits of %s were ended.", "Nothing was ended: there is an answer already, or the step no longer waits."},
	ActionDelete:      {"The run was deleted.", "%s were deleted.", "Nothing was deleted: the runs no longer exist."},
	ActionStart:       {"The run was started.", "%s were started.", "Nothing was started."},
	ActionPause:       {"The flow is paused: workers get no more of its tasks.", "%s are paused.", "It was already paused."},
	ActionResume:      {"The flow was resumed.", "%s were resumed.", "It was not paused."},

	ActionSetGate:  {"The limits of the gate were changed.", "%s were changed.", "Nothing was changed."},
	ActionHoldGate: {"The gate is held: no attempt begins there for a while.", "%s are held.", "Nothing is held."},
	ActionFreeGate: {"The gate is not held any more.", "%s are not held any more.", "Nothing was held."},

	ActionPauseSchedule:  {"The schedule is paused: it starts no more runs.", "%s are paused.", "It was already paused."},
	ActionResumeSchedule: {"The schedule resumes at its next tick.", "%s were resumed.", "It was not paused."},
	ActionRunSchedule:    {"The run was started, as its schedule would.", "%s were started.", "Nothing was started."},
}

// redirect sends the browser to a page that shows what was done. The address holds
// numbers and a known word, no text: nobody can make the page say anything else.
func redirect(w http.ResponseWriter, r *http.Request, path string, values url.Values, action Action, done, of int) {
	values.Set("did", string(action))
	values.Set("n", strconv.Itoa(done))
	values.Set("of", strconv.Itoa(of))
	http.Redirect(w, r, address(path, values), http.StatusSeeOther)
}

// notice returns the message for what an address says was done.
func notice(values url.Values) (text string, fault bool) {
	texts, ok := notices[Action(values.Get("did"))]
	if !ok {
		return "", false
	}
	done, _ := strconv.Atoi(values.Get("n"))
	of, _ := strconv.Atoi(values.Get("of"))
	switch {
	case done <= 0:
		return texts.none, true
	case values.Get("requested") == "1":
		return "It was requested: somebody else holds the run, or it waits for its turn, and a worker does it as soon as that is over.", false
	case done == 1:
		text = texts.one
	default:
		text = fmt.Sprintf(texts.many, count(done)+" runs")
	}
	if of > done {
		text += " " + plural(of-done, "other was", "others were") + " not in the right state for it."
	}
	return text, false
}

// userOf returns the user of the request, as far as basic authentication names one.
func userOf(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok && user != "" {
		return user
	}
	return "the dashboard"
}
