package spec_test

import (
	"fmt"

	"github.com/flowc-dev/flowc/runtime/spec"
)

var processOrder = spec.Flow{
	Slug: "process_order",
	Steps: []spec.Step{
		{Slug: "charge"},
		{Slug: "ship", Deps: []string{"charge"}},
	},
}

// A definition that is wrong says everything at once.
func ExampleFlow_Validate() {
	flow := spec.Flow{Slug: "ship order", Steps: []spec.Step{{Slug: "ship", Deps: []string{"charge"}}}}
	fmt.Println(flow.Validate())
	// Output:
	// flowc: flow "ship order" is not valid, 2 faults:
	// 	the slug "ship order" must be a letter or underscore, then letters, digits and underscores
	// 	step ship: it waits for "charge", which is no step of this flow
}

// A flow that is not set an option has its default, so that this is the only difference.
func ExampleCompare() {
	patient := processOrder
	patient.MaxAttempts = 9
	for _, d := range spec.Compare(processOrder, patient) {
		fmt.Println(d.What, d.From, d.To)
	}
	// Output: max_attempts 3 9
}

// The document that a definition makes is what the database keeps.
func ExampleParse() {
	doc, err := processOrder.Payload()
	if err != nil {
		panic(err)
	}
	def, err := spec.Parse("process_order", doc)
	fmt.Println(def.Slug, len(def.Steps), err)
	// Output: process_order 2 <nil>
}

func ExampleVersionOf() {
	fmt.Println(spec.VersionOf("process_order_v2"))
	fmt.Println(spec.VersionOf("process_order"))
	// Output:
	// process_order 2
	// process_order 1
}

// A renamed field is lost to runs in flight.
func ExampleCompareForms() {
	before := spec.Forms{Input: "Batch", Types: map[string]map[string]string{"Batch": {"URL": "string"}}}
	after := spec.Forms{Input: "Batch", Types: map[string]map[string]string{"Batch": {"Link": "string"}}}
	fmt.Println(spec.CompareForms(&before, &after))
	// Output: [Batch loses URL, which runs in flight have]
}
