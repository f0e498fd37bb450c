package dashboard

import (
	"context"
	"encoding/json"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/jsonlayout"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// A value is a payload on a page.
type value struct {
	Label string
	View  template.HTML // empty if it is too long, or missing
	Bytes int           // what it takes in the table; 0 if that is not known
	Raw   string        // its own address, empty if it has none
}

// pageBytes is how much of a page its payloads and errors may take together. The same
// value may be in it many times, as the input of each step that waits for another.
const pageBytes = 1 << 20

// values prepares the payloads of a run for a page.
type values struct {
	h    *Handler
	run  *runtime.RunInfo
	all  []ops.Payload
	path string
	room int // bytes of the page that are left
}

func (h *Handler) values(run *runtime.RunInfo, payloads []ops.Payload) *values {
	return &values{h, run, payloads, h.config.Prefix + "/runs/" + url.PathEscape(run.ID) + "/payload", pageBytes}
}

// errorText returns as much of an error as the page has room for, at least the first
// line.
func (v *values) errorText(s string) string {
	if v.room -= len(s); v.room < 0 {
		return firstLine(s)
	}
	return s
}

// find returns a payload; nil if it does not exist.
func (v *values) find(label string, kind ops.PayloadKind, step string) *value {
	for _, p := range v.all {
		if p.Kind == kind && p.Step == step {
			where := url.Values{"of": {string(kind)}}
			if step != "" {
				where.Set("step", step)
			}
			made := v.made(label, step, p.JSON, p.Bytes, where)
			return &made
		}
	}
	return nil
}

func (v *values) made(label, step string, raw json.RawMessage, size int, where url.Values) value {
	shown := value{Label: label, Bytes: size, Raw: address(v.path, where)}
	if raw != nil && v.room > 0 {
		shown.View = jsonView(v.h.redacted(v.run.Flow, step, raw))
		v.room -= len(shown.View)
	}
	return shown
}

func (v *values) input() value {
	if in := v.find("Input", ops.PayloadRunInput, ""); in != nil {
		return *in
	}
	return value{Label: "Input"} // the run was deleted meanwhile
}

func (v *values) result() *value { return v.find("Result", ops.PayloadRunResult, "") }

// output returns what the last steps returned, which is not the result if the flow
// declares one.
func (v *values) output(declared bool) *value {
	label := "Output"
	if declared {
		label = "Outputs of the last steps"
	}
	return v.find(label, ops.PayloadRunOutput, "")
}
func (v *values) step(slug string) *value { return v.find("Output", ops.PayloadStepOutput, slug) }
func (v *values) from(slug string) *value {
	return v.find("Input from "+slug, ops.PayloadStepOutput, slug)
}
func (v *values) inputs(o stepOptions) (all []value) {
	if len(o.Deps) == 0 {
		in := v.input()
		in.Label = "Input of the run"
		return []value{in}
	}
	for _, dep := range o.Deps {
		if given := v.from(dep); given != nil {
			all = append(all, *given)
		}
	}
	return all
}

// mostAlone is how many bytes a payload may have to be shown on its own.
const mostAlone = 8 << 20

// payload responds with one payload.
func (h *Handler) payload(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	id, query := r.PathValue("id"), r.URL.Query()
	kind, step := ops.PayloadKind(query.Get("of")), query.Get("step")
	index, err := strconv.Atoi(query.Get("index"))
	if err != nil && query.Has("index") {
		return badRequest("The index of a task is a number.")
	}
	run, err := runtime.GetRun(ctx, h.db, id, runtime.WithStates(), runtime.WithoutPayloads())
	if err != nil {
		return err
	}
	found, err := ops.GetPayload(ctx, h.db, id, ops.PayloadFilter{Kind: kind, Step: step, Index: index, AtMost: mostAlone})
	switch {
	case err != nil:
		return err
	case found == nil:
		return &statusError{http.StatusNotFound, "Nothing here", "The run has no such payload."}
	case found.JSON == nil:
		return &statusError{http.StatusRequestEntityTooLarge, "Too long",
			"The value is too long for a page: it has more than " + byteCount(mostAlone) + " as text. Print it with flowc runs show --payloads."}
	}
	step = found.Step
	raw := h.redacted(run.Flow, step, found.JSON)
	name := run.Flow + "-" + shortID(run.ID) + "-" + string(kind)
	if step != "" {
		name += "-" + step
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": name + ".json"}))
	_, _ = w.Write(indented(raw)) // the browser is gone
	return nil
}

// indented formats JSON for people; anything else is returned as it is.
func indented(raw json.RawMessage) []byte {
	if !json.Valid(raw) {
		return raw
	}
	return jsonlayout.Indent(raw)
}
