// Package options declares flows that set every option.
package options

import "github.com/flowc-dev/flowc/dsl"

// Everything sets what a flow can set.
//
// It has a doc comment of several paragraphs, with
//
//	code in it
//
// and a */ that ends nothing.
type Everything struct {
	dsl.Flow[int, string] `slug:"All_of_it" version:"3" package:"all" max_attempts:"1" base_delay:"0s" timeout:"1h30m" from:"Last"`

	First  dsl.Step[int, Numbers]   `slug:"st1" max_attempts:"2" base_delay:"4h" timeout:"90s" start_delay:"24h"`
	Each   dsl.Map[float64, string] "slug:\"each\" over:\"First\" max_attempts:\"12\" timeout:\"1m\""
	Middle dsl.Step[struct {
		Input int
		Words []string `from:"Each"`
	}, string] // Middle has a comment behind it, and a join without a name.
	Last  dsl.Step[[]string, string]   `after:"Middle, First" from:"Each"`
	Again dsl.Step[dsl.None, string]   `after:"Last" base_delay:"10m"`
	End   dsl.Step[dsl.None, dsl.None] `after:"Again"`
}

// Numbers is a list with a name.
type Numbers []float64

// Bare sets nothing.
type Bare struct{ dsl.Job[string, string] }
