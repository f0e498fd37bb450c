package spec_test

import (
	"encoding/json"
	"fmt"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// A form of a program's own checks what somebody wrote before it sends the answer.
func ExampleSchema_Check() {
	step := spec.Step{Slug: "approve", Type: spec.TypeWait, Answer: json.RawMessage(`{
		"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}`)}
	schema, err := step.AnswerSchema()
	if err != nil {
		panic(err)
	}
	fmt.Println(schema.Check(json.RawMessage(`{"approved": "yes"}`)))
	// Output: approved: it must be true or false
}
