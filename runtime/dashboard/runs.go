package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

const runsPerPage = 50

// statuses are those to filter runs by.
var statuses = []runtime.RunStatus{
	runtime.RunScheduled, runtime.RunRunning, runtime.RunWaiting, runtime.RunCompleted, runtime.RunFailed, runtime.RunCancelled,
}

// marks distinguish runs whose steps all completed from others.
var marks = []ops.RunMark{ops.MarkSkipped, ops.MarkGaveUp, ops.MarkClean}

// windows are the ranges of time to filter runs by. A list that has to scan every run of a
// large table for a few would take for ever, so there is a bound unless the user removes
// it.
var windows = []window{
	{"1h", "last hour", time.Hour},
	{"24h", "last 24 hours", 24 * time.Hour},
	{"7d", "last 7 days", 7 * 24 * time.Hour},
	{"30d", "last 30 days", 30 * 24 * time.Hour},
	{"all", "any time", 0},
}

const usualWindow = "24h"

type window struct {
	Key, Words string
	span       time.Duration // 0 has no bound
}

// A runsQuery holds the parameters of the page of runs.
type runsQuery struct {
	Flow     string
	Statuses []runtime.RunStatus
	Window   string
	Contains string
	Marks    []ops.RunMark
	Search   string
	after    *ops.RunSummary
}

// parseRunsQuery parses the parameters of an address. An unknown one is an error: a filter
// that is silently ignored would make a bulk action affect the wrong runs. The query then
// holds what was understood.
func parseRunsQuery(values url.Values) (runsQuery, error) {
	q := runsQuery{
		Flow: values.Get("flow"), Window: values.Get("time"), Contains: strings.TrimSpace(values.Get("contains")),
		Search: strings.TrimSpace(values.Get("q")),
	}
	var fault error
	if q.Window == "" {
		q.Window = usualWindow
	}
	if !slices.ContainsFunc(windows, func(w window) bool { return w.Key == q.Window }) {
		fault = badRequest("There is no time range " + strconv.Quote(q.Window) + ".")
		q.Window = usualWindow
	}
	for _, s := range values["status"] {
		if !slices.Contains(statuses, runtime.RunStatus(s)) {
			fault = badRequest("There is no status " + strconv.Quote(s) + ".")
			continue
		}
		q.Statuses = append(q.Statuses, runtime.RunStatus(s))
	}
	for _, m := range values["with"] {
		if !slices.Contains(marks, ops.RunMark(m)) {
			fault = badRequest("Runs cannot be filtered by " + strconv.Quote(m) + ".")
			continue
		}
		q.Marks = append(q.Marks, ops.RunMark(m))
	}
	if cursor := values.Get("after"); cursor != "" {
		micros, id, _ := strings.Cut(cursor, "_")
		n, err := strconv.ParseInt(micros, 10, 64)
		if err != nil || uuid.Validate(id) != nil {
			return q, badRequest("The address of this page is not whole: begin again at the first page of runs.")
		}
		q.after = &ops.RunSummary{ID: id, StartedAt: time.UnixMicro(n)}
	}
	return q, fault
}

// values returns the query as URL parameters, without the position in the list.
func (q runsQuery) values() url.Values {
	values := url.Values{}
	if q.Flow != "" {
		values.Set("flow", q.Flow)
	}
	for _, s := range q.Statuses {
		values.Add("status", string(s))
	}
	if q.Window != usualWindow {
		values.Set("time", q.Window)
	}
	if q.Contains != "" {
		values.Set("contains", q.Contains)
	}
	for _, m := range q.Marks {
		values.Add("with", string(m))
	}
	if q.Search != "" {
		values.Set("q", q.Search)
	}
	return values
}

// Has reports whether the query filters by a status.
func (q runsQuery) Has(s runtime.RunStatus) bool { return slices.Contains(q.Statuses, s) }

// Marked reports whether the query filters by a mark.
func (q runsQuery) Marked(m ops.RunMark) bool { return slices.Contains(q.Marks, m) }

// partOfID matches what may be the beginning or the end of a run's id, rather than a word.
var partOfID = regexp.MustCompile(`^[0-9a-fA-F-]{6,36}$`)

// Narrow reports whether the query excludes anything but old runs.
func (q runsQuery) Narrow() bool {
	return q.Flow != "" || len(q.Statuses)+len(q.Marks) > 0 || q.Contains+q.Search != ""
}

// filter returns the query as a filter for the database.
func (h *Handler) filter(q runsQuery, limit int, now time.Time) (ops.RunFilter, error) {
	f := ops.RunFilter{Statuses: q.Statuses, Marks: q.Marks, Search: q.Search, After: q.after, Limit: limit}
	if q.Flow != "" {
		f.Flows = []string{q.Flow}
	}
	for _, w := range windows {
		if w.Key == q.Window && w.span > 0 && !partOfID.MatchString(q.Search) { // an id needs no range of time
			f.StartedFrom = now.Add(-w.span)
		}
	}
	if q.Contains != "" {
		if h.config.Redact != nil {
			return f, &statusError{http.StatusForbidden, "Not allowed", "Payloads are redacted here, so runs cannot be searched by their input."}
		}
		contains, err := containsOf(q.Contains)
		if err != nil {
			return f, err
		}
		f.InputContains = contains
	}
	return f, nil
}

// containsOf parses what an input has to contain: JSON, or fields such as
//
//	order_id=1001 customer.mail=irina@example.com
//
// where a value that is not JSON is text.
func containsOf(text string) (json.RawMessage, error) {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	wrong := badRequest(`What the input has to contain is not understood. Write order_id=1001, or JSON as {"order_id": 1001}.`)
	all := map[string]any{}
	for _, word := range strings.Fields(text) {
		path, value, ok := strings.Cut(word, "=")
		if !ok || path == "" || strings.HasPrefix(text, "{") {
			return nil, wrong
		}
		in, names := all, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			inner, ok := in[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
				in[name] = inner
			}
			in = inner
		}
		if in[names[len(names)-1]] = value; json.Valid([]byte(value)) {
			in[names[len(names)-1]] = json.RawMessage(value)
		}
	}
	return json.Marshal(all)
}

// A runsPage lists runs.
type runsPage struct {
	Query     runsQuery
	Flows     []string
	Replaced  map[string]string // newer versions of flows
	Statuses  []runtime.RunStatus
	Marks     []ops.RunMark
	Problem   string // what is wrong with the filters
	Windows   []window
	Runs      []ops.RunSummary
	CanSearch bool
	First     bool
	Newest    string // address of the first page
	Older     string // address of the next page, empty on the last
	Wider     string // address of the same with a longer time
	Back      string // the address of this page, for actions
}

func (h *Handler) listRuns(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	query, runs, err := h.queryRuns(ctx, r.URL.Query())
	bad := asStatus(err)
	switch {
	case errors.Is(err, runtime.ErrInvalidOption):
		bad = &statusError{status: http.StatusBadRequest, text: "The filters cannot be used: " + strings.TrimPrefix(err.Error(), "flowc: ") + "."}
	case err != nil && bad == nil:
		return err
	}
	if id := query.Search; bad == nil && uuid.Validate(id) == nil && len(runs) == 1 && runs[0].ID == strings.ToLower(id) {
		http.Redirect(w, r, h.config.Prefix+"/runs/"+url.PathEscape(runs[0].ID), http.StatusSeeOther)
		return nil
	}
	flows, err := h.flows(ctx, 24*time.Hour)
	if err != nil {
		return err
	}
	values := query.values()
	path := h.config.Prefix + "/runs"
	page := runsPage{
		Query: query, Statuses: statuses, Marks: marks, Windows: windows, First: query.after == nil, CanSearch: h.config.Redact == nil,
		Newest: address(path, values), Back: values.Encode(),
	}
	page.Replaced = map[string]string{}
	for _, f := range flows {
		page.Flows = append(page.Flows, f.Slug)
		if f.ReplacedBy != "" {
			page.Replaced[f.Slug] = f.ReplacedBy
		}
	}
	if len(runs) > runsPerPage {
		runs = runs[:runsPerPage]
		last := runs[len(runs)-1]
		older := query.values()
		older.Set("after", strconv.FormatInt(last.StartedAt.UnixMicro(), 10)+"_"+last.ID)
		page.Older = address(path, older)
	}
	if query.Window != "all" {
		wider := query
		wider.Window = map[string]string{"1h": "24h", "24h": "7d", "7d": "30d", "30d": "all"}[query.Window]
		page.Wider = address(path, wider.values())
	}
	page.Runs = runs
	status := http.StatusOK
	if bad != nil { // what was typed stays there, to be corrected
		page.Problem, page.Wider, status = bad.text, "", bad.status
	}
	f := h.frame(r, "runs", "Runs", page)
	f.Refresh = page.First && bad == nil
	return h.render(w, status, "runs", f)
}

// queryRuns reads a page of runs, one more than it has room for. With an error, the query
// holds what was understood.
func (h *Handler) queryRuns(ctx context.Context, values url.Values) (runsQuery, []ops.RunSummary, error) {
	query, err := parseRunsQuery(values)
	if err != nil {
		return query, nil, err
	}
	filter, err := h.filter(query, runsPerPage+1, time.Now())
	if err != nil {
		return query, nil, err
	}
	runs, err := ops.ListRuns(ctx, h.db, filter)
	h.redactRuns(runs)
	return query, runs, h.tolerate(ctx, err)
}

func address(path string, values url.Values) string {
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}
