package runtime

import (
	"maps"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
)

// headers are what runs carry besides their input.
type headers struct {
	text  string // JSON
	asked bool   // whether the caller gave some, and not only a tracer
}

// MaxHeaderBytes is how much the headers of a run may have together, as JSON in bytes:
// each of its tasks is claimed with them.
const MaxHeaderBytes = 64 << 10

// WithHeaders gives the run short texts by name that are not part of its input: who
// asked for it, or the context of a trace. Handlers find them in [handler.Task.Headers].
// Those of a run that existed before stay as they are.
func WithHeaders(values map[string]string) StartOption {
	return startOption(func(o *startOptions) error {
		all := maps.Clone(o.headers)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, values)
		if _, unnamed := all[""]; unnamed {
			return optionError("a header has no name")
		}
		switch raw, err := jsontext.Encode(all); {
		case err != nil:
			return optionError("the headers cannot be stored: %v", err)
		case len(raw) > MaxHeaderBytes:
			return optionError("the headers have %d bytes as JSON, at most %d fit: what is longer belongs into the input", len(raw), MaxHeaderBytes)
		}
		o.headers = all
		return nil
	})
}

// carry settles what the runs carry: what the caller gave, and what a tracer did
// where that says nothing else.
func (o *startOptions) carry(traced map[string]string) {
	if len(traced) == 0 && len(o.headers) == 0 {
		return
	}
	all := maps.Clone(traced)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, o.headers)
	if raw, err := jsontext.Encode(all); err == nil && len(raw) <= MaxHeaderBytes { // else they are a tracer's
		o.carried = &headers{text: string(raw), asked: len(o.headers) > 0}
	}
}

// headerTexts are headers as the database takes them, nil if nobody has any.
func headerTexts(all []*headers) (texts []*string, asked bool) {
	for i, h := range all {
		if h == nil {
			continue
		}
		if texts == nil {
			texts = make([]*string, len(all))
		}
		texts[i] = &h.text
		asked = asked || h.asked
	}
	return texts, asked
}
