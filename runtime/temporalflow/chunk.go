package temporalflow

import (
	"encoding/json"

	"go.temporal.io/sdk/workflow"

	"github.com/flowc-dev/flowc/runtime/internal/machine"
)

const (
	// inlineMap is how many elements a map may have whose tasks are activities of the
	// run's own workflow. Those of longer ones are activities of child workflows.
	inlineMap = 100
	// chunkItems and chunkBytes are how much one of these has: a history may have 51 200
	// events, and a workflow 2 000 activities in flight.
	chunkItems = 500
	chunkBytes = 512 << 10
)

// mapChunk is the workflow of a part of a map. It ends with the first task that fails for
// good, as the step does, or when the step has ended otherwise; then it tells what has
// completed.
func mapChunk(ctx workflow.Context, c chunk) (*chunked, error) {
	type ended struct {
		place int
		done  done
		err   error
	}
	free, _ := workflow.NewDisconnectedContext(ctx)
	results := workflow.NewBufferedChannel(free, len(c.Items)+1)
	working, stop := workflow.WithCancel(free)
	defer stop()
	for i, item := range c.Items {
		in := c.Task
		in.Index, in.Item = c.Indexes[i], item
		workflow.Go(working, func(ctx workflow.Context) {
			e := ended{place: i}
			e.err = attemptActivity(ctx, c.Step, c.Queue, c.Priority, in).Get(ctx, &e.done)
			results.Send(ctx, e)
		})
	}
	cancelled := ctx.Done()
	workflow.Go(free, func(ctx workflow.Context) {
		cancelled.Receive(ctx, nil)
		results.Send(ctx, ended{place: -1})
	})
	out, size := &chunked{}, 0
	for range c.Items {
		var e ended
		results.Receive(free, &e)
		switch {
		case e.place < 0:
			return out, nil
		case e.err != nil:
			f := failureOf(e.err)
			out.Failed, out.Index = &f, c.Indexes[e.place]
			return out, nil
		}
		t := machine.TaskRecord{Index: c.Indexes[e.place], Output: e.done.Output, Attempts: e.done.Attempts}
		raw, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		if size += len(raw) + 1; size > c.Limit {
			f := failure{tooLong("the outputs of a part of the map", size).Error(), e.done.Attempts}
			out.Failed, out.Index = &f, t.Index
			return out, nil
		}
		out.Done = append(out.Done, t)
	}
	return out, nil
}
