package runtime

import (
	"encoding/json"
	"maps"

	"github.com/flowc-dev/flowc/runtime/internal/jsontext"
	"github.com/flowc-dev/flowc/runtime/internal/valid"
)

// MaxHeaderBytes is the size that the headers of a run may have together, as JSON, in
// bytes: each of its tasks is claimed with them.
const MaxHeaderBytes = 64 << 10

// WithHeaders attaches short texts by name to the run that are not part of its input,
// such as who requested it, or a trace context. Handlers find them in
// [handler.Task.Headers]. A run that existed before keeps the headers that it has.
func WithHeaders(values map[string]string) StartOption {
	return startOption(func(o *startOptions) error {
		all := maps.Clone(o.headers)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, values)
		if _, unnamed := all[""]; unnamed {
			return valid.Option("a header has no name")
		}
		switch raw, err := jsontext.Encode(all); {
		case err != nil:
			return valid.Option("the headers cannot be stored: %v", err)
		case len(raw) > MaxHeaderBytes:
			return valid.Option("the headers have %d bytes as JSON, at most %d fit: what is longer belongs into the input", len(raw), MaxHeaderBytes)
		}
		o.headers = all
		return nil
	})
}

// carried returns the headers of the runs as JSON, nil if there are none: the caller's, and
// those of the tracer with other names. ofTracer reports whether they are only the
// tracer's.
func (o *startOptions) carried(traced map[string]string) (headers json.RawMessage, ofTracer bool) {
	if len(traced) == 0 && len(o.headers) == 0 {
		return nil, false
	}
	all := maps.Clone(traced)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, o.headers)
	raw, err := jsontext.Encode(all)
	if err != nil || len(raw) > MaxHeaderBytes { // those of the tracer are too large
		if raw, err = jsontext.Encode(o.headers); err != nil || len(o.headers) == 0 {
			return nil, false
		}
	}
	return raw, len(o.headers) == 0
}
