package runtime

import (
	"encoding/json"
	"fmt"

	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// An output reads the results of a completed run.
type output[Out any] struct {
	source handler.Source[Out] // of the outputs of steps
	// whole, if set, reads the result of the run, if its definition declares one, and its
	// output as the database stores it.
	whole func(result, output json.RawMessage) (Out, error)
}

func typedOutput[Out any](source handler.Source[Out]) output[Out] { return output[Out]{source: source} }

// untypedOutput reads a run for a caller who does not know its type: its result if the
// definition declares one, and otherwise its output.
var untypedOutput = output[json.RawMessage]{whole: func(result, output json.RawMessage) (json.RawMessage, error) {
	if result != nil {
		return result, nil
	}
	return output, nil
}}

// ofVersion returns the output of a run of another version of the flow, whose own
// definition declares its result. A result that does not fit the type is an error.
func (o output[Out]) ofVersion(flow string) output[Out] {
	if o.whole != nil {
		return o
	}
	return output[Out]{whole: func(result, _ json.RawMessage) (out Out, err error) {
		if _, nothing := any(out).(dsl.None); nothing {
			return out, nil
		}
		if result == nil {
			return out, fmt.Errorf("it is a run of %s, whose definition declares no result: read it with runtime.GetRun", flow)
		}
		out, err = handler.Decode[Out](result, true, "the result of "+flow+", another version of the flow,")
		if err != nil {
			err = fmt.Errorf("%w: read it with runtime.GetRun", err)
		}
		return out, err
	}}
}
