package spec_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/spec"
)

const decisionSchema = `{"type": "object", "title": "Decision", "properties": {
	"approved": {"type": "boolean"}, "budget": {"type": "string", "enum": ["travel", "office"]}, "urgency": {"type": "integer", "enum": [0, 1], "enumNames": ["Later", "Now"]},
	"rights": {"type": "integer", "minimum": 0, "maximum": 255}, "count": {"type": "integer", "minimum": 0}, "amount": {"type": "number"}, "at": {"type": "string", "format": "date-time"},
	"proof": {"type": "string", "contentEncoding": "base64"}, "lines": {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}},
	"grades": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}, "any": {}},
	"propertyOrder": ["approved", "budget", "urgency", "rights", "count", "amount", "at", "proof", "lines", "grades", "labels", "any"], "required": ["approved"]}`

// TestSchemaCheck holds answers against the schema of one.
func TestSchemaCheck(t *testing.T) {
	t.Parallel()
	schema, err := spec.Step{Slug: "approve", Answer: json.RawMessage(decisionSchema)}.AnswerSchema()
	require.NoError(t, err)
	for answer, want := range map[string]string{
		`{"approved": true}`: "",
		`{"approved": true, "budget": "office", "urgency": 1, "rights": 255, "count": 18446744073709551615, "amount": 1.5e3, "at": "2030-01-31T08:00:00+01:00", "proof": "AQI=",
			"lines": [{"text": "a"}], "grades": [1, 2], "labels": {"a": "b"}, "any": [null, {}]}`: "",
		`{"approved": true, "budget": null, "lines": null}`: "",

		`{"approved": tru`:                     "it is not JSON: unexpected EOF",
		`{"approved": true} {}`:                "it is more than one value",
		`[]`:                                   "it must be an object, as {…}",
		`null`:                                 "it must be an object, as {…}",
		`{}`:                                   "approved: it is required",
		`{"approved": null}`:                   "approved: it is required",
		`{"approved": "yes"}`:                  "approved: it must be true or false",
		`{"approved": true, "budgte": "a"}`:    "budgte: there is no such field, only approved, budget, urgency, rights, count, amount, at, proof, lines, grades, labels, any",
		`{"approved": true, "budget": "home"}`: "budget: it must be one of travel, office",
		`{"approved": true, "urgency": 2}`:     "urgency: it must be one of Later, Now",
		`{"approved": true, "rights": 256}`:    "rights: it must be 0 to 255",
		`{"approved": true, "rights": 1.5}`:    "rights: it must be a whole number",
		`{"approved": true, "rights": "1"}`:    "rights: it must be a whole number",
		`{"approved": true, "count": -1}`:      "count: it must be at least 0",
		`{"approved": true, "amount": 1e999}`:  "amount: it is too large",
		`{"approved": true, "amount": true}`:   "amount: it must be a number",
		`{"approved": true, "at": "today"}`:    "at: it must be a time such as 2030-01-31T08:00:00Z",
		`{"approved": true, "at": 7}`:          "at: it must be a text",
		`{"approved": true, "proof": "?"}`:     "proof: it must be bytes in base64",
		`{"approved": true, "lines": {}}`:      "lines: it must be a list, as […]",
		`{"approved": true, "lines": [{"text": "a"}, {"text": 7}]}`: "lines[1].text: it must be a text",
		`{"approved": true, "lines": [{}]}`:                         "lines[0].text: it is required",
		`{"approved": true, "grades": [1]}`:                         "grades: it has 1 elements, it must have 2",
		`{"approved": true, "labels": {"a": 1}}`:                    "labels.a: it must be a text",
	} {
		err := schema.Check(json.RawMessage(answer))
		if want == "" {
			require.NoError(t, err, answer)
			continue
		}
		require.EqualError(t, err, want, answer)
	}
	require.Equal(t, []string{"travel", "office"}, schema.Properties["budget"].OneOf())

	none, err := spec.Step{Slug: "go_on"}.AnswerSchema()
	require.NoError(t, err)
	require.Nil(t, none)
	_, err = spec.Step{Slug: "odd", Answer: json.RawMessage(`[]`)}.AnswerSchema()
	require.ErrorContains(t, err, "step odd")
}
