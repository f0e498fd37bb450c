// Package none declares flows that take or give nothing.
package none

import "github.com/flowc-dev/flowc/dsl"

// Sweep takes and gives nothing.
type Sweep struct {
	dsl.Flow[dsl.None, dsl.None]

	List   dsl.Step[dsl.None, []string]
	Remove dsl.Map[string, dsl.None]
	Report dsl.Step[dsl.None, dsl.None] `after:"Remove"`
}

// Tick takes and gives nothing.
type Tick struct {
	dsl.Job[dsl.None, dsl.None]
}

// Count takes nothing and gives a number.
type Count struct {
	dsl.Job[dsl.None, int]
}
