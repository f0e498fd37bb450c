package emit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/load"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// Migration returns the SQL that puts a flow into the database, and the SQL that removes
// it. Both can be run again.
func Migration(flow *model.Flow) (up, down []byte, err error) {
	payload, err := Definition(flow).Payload()
	if err != nil {
		return nil, nil, fmt.Errorf("flowc: emitting %s: %w", flow.Name, err)
	}
	doc, err := readable(payload)
	if err != nil {
		return nil, nil, fmt.Errorf("flowc: emitting %s: %w", flow.Name, err)
	}
	kind := "flow"
	if flow.Job {
		kind = "job"
	}

	var u strings.Builder
	fmt.Fprintf(&u, "%s\n\n", load.SQLHeader)
	for line := range strings.Lines(flow.Doc) {
		u.WriteString(strings.TrimRight("-- "+strings.TrimRight(line, "\n"), " \t") + "\n")
	}
	if flow.Doc != "" {
		u.WriteString("--\n")
	}
	fmt.Fprintf(&u, "-- Puts the %s %s into the database, or brings its options up to date. If it\n", kind, flow.Slug)
	fmt.Fprintf(&u, "-- exists with other steps, nothing is changed and the migration fails.\n")
	fmt.Fprintf(&u, "DO %s\n", dollar)
	fmt.Fprintf(&u, "DECLARE\n  answer jsonb := flowc.upsert_flow(%s, %s, false);\n", literal(flow.Slug), literal(doc))
	fmt.Fprintf(&u, "BEGIN\n  IF answer ->> 'status' = 'mismatch' THEN\n")
	fmt.Fprintf(&u, "    RAISE EXCEPTION %s, answer ->> 'differences'\n", literal("the "+kind+" "+flow.Slug+" exists with other steps: %"))
	fmt.Fprintf(&u, "      USING HINT = %s;\n", literal(fmt.Sprintf("Give the declaration the tag version:\"%d\".", flow.Version+1)))
	fmt.Fprintf(&u, "  END IF;\nEND\n%s;\n", dollar)

	var d strings.Builder
	fmt.Fprintf(&d, "%s\n\n", load.SQLHeader)
	fmt.Fprintf(&d, "-- Removes the %s %s from the database. It fails while there are runs of it.\n", kind, flow.Slug)
	fmt.Fprintf(&d, "DO %s\nBEGIN\n", dollar)
	fmt.Fprintf(&d, "  PERFORM flowc.lock_definition(%s); -- so that none is started meanwhile\n", literal(flow.Slug))
	fmt.Fprintf(&d, "  IF EXISTS (SELECT FROM pgflow.runs WHERE flow_slug = %s) THEN\n", literal(flow.Slug))
	fmt.Fprintf(&d, "    RAISE EXCEPTION %s\n", literal("the "+kind+" "+flow.Slug+" has runs"))
	fmt.Fprintf(&d, "      USING HINT = %s;\n", literal("Delete them first, or leave the "+kind+" where it is."))
	fmt.Fprintf(&d, "  END IF;\n  PERFORM flowc.delete_flow(%s);\nEND\n%s;\n", literal(flow.Slug), dollar)

	for _, s := range []string{u.String(), d.String()} {
		if strings.Count(s, dollar) != 2 {
			return nil, nil, fmt.Errorf("flowc: emitting %s: it holds the text %s, which ends a block of SQL", flow.Name, dollar)
		}
	}
	return []byte(u.String()), []byte(d.String()), nil
}

// dollar are the quotes around a DO block.
const dollar = "$flowc$"

// literal returns a text as SQL, in a database with standard_conforming_strings,
// which has been the default since PostgreSQL 9.1.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// readable returns a payload with a line for each step.
func readable(payload []byte) (string, error) {
	var doc struct {
		Steps   []json.RawMessage `json:"steps"`
		Options json.RawMessage   `json:"options"`
		Result  json.RawMessage   `json:"result"`
		Forms   json.RawMessage   `json:"forms"`

		Settings json.RawMessage `json:"settings"`
	}
	if err := json.Unmarshal(payload, &doc); err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"options\": %s,\n", doc.Options)
	if doc.Settings != nil {
		fmt.Fprintf(&b, "  \"settings\": %s,\n", doc.Settings)
	}
	fmt.Fprintf(&b, "  \"result\": %s,\n  \"forms\": %s,\n  \"steps\": [\n", doc.Result, doc.Forms)
	for i, step := range doc.Steps {
		comma := ","
		if i == len(doc.Steps)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, "    %s%s\n", step, comma)
	}
	b.WriteString("  ]}")
	return b.String(), nil
}
