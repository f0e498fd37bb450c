package temporalflow

import (
	"fmt"

	"github.com/flowc-dev/flowc/runtime/internal/machine"
)

const (
	// valueLimit is what a value may have on a Temporal server that is configured as by
	// default, and maxValue what is left of it for ours: the rest is for what surrounds it.
	valueLimit = 2 << 20
	maxValue   = valueLimit - 4<<10
	// unlimited is what a value may have that is stored elsewhere.
	unlimited = 1 << 30
	// recordBytes is how much the end of a run tells of its values. What is beyond that
	// is told when it is asked for.
	recordBytes = 1 << 20
	// pieceBytes is how much of an output one answer has.
	pieceBytes = 1 << 20
	// pauseBytes is how much the commands of one workflow task may have together: the
	// server takes messages of 4 MB.
	pauseBytes = 1 << 20
	// inlineInput is how long the input of a run may be that each task of a map is given.
	// One that is longer is read by the worker.
	inlineInput = 4 << 10
)

// tooLong returns the error for a value that Temporal does not take.
func tooLong(what string, size int) error {
	return fmt.Errorf("flowc: %s: it has %d bytes, and Temporal takes %d at most: store it elsewhere and pass its name, or give the client ExternalStorage and temporalflow.New the option WithExternalStorage", what, size, maxValue)
}

// shorten leaves values out of a record until it fits.
func (r *record) shorten() {
	size := len(r.Input)
	for i := range r.Steps {
		size += len(r.Steps[i].Output) + sizeOf(r.Steps[i].Tasks)
	}
	if size <= recordBytes {
		return
	}
	size -= len(r.Input)
	r.Input = nil
	for i := range r.Steps {
		if s := &r.Steps[i]; size > recordBytes && s.Tasks != nil {
			size -= sizeOf(s.Tasks)
			left := *s.RemainingTasks + len(s.Tasks)
			s.Tasks, s.RemainingTasks = nil, &left
		}
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; size > recordBytes && s.Output != nil {
			size -= len(s.Output)
			s.Output, r.Short = nil, true
		}
	}
}

func sizeOf(tasks []machine.TaskRecord) (n int) {
	for _, t := range tasks {
		n += len(t.Output) + 32
	}
	return n
}
