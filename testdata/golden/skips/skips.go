// Package skips declares flows whose steps may be skipped, so that what they
// give may be absent.
package skips

import (
	"encoding/json"

	"github.com/flowc-dev/flowc/dsl"
)

// Review looks at a document in as many ways as it asks for.
type Review struct {
	dsl.Flow[Document, Report]

	// Scan looks for malware.
	Scan dsl.Step[Document, Verdict] `if:"Input.Scan && Input.Kind == 'pdf'" when_exhausted:"skip"`
	// Translate is left out for documents that are English already.
	Translate dsl.Step[Document, []Page] `if_not:"Input.Language == 'en'"`
	// Spell checks a page, if there are any.
	Spell dsl.Map[Page, Finding]
	// Read asks a person. If they do not want to, nobody signs.
	Read dsl.Step[ReadInput, Verdict] `when_exhausted:"skip-cascade" base_delay:"30m" max_attempts:"8"`
	// Sign signs what a person has read.
	Sign dsl.Step[Verdict, Signature] `from:"Read"`
	// Alarm tells the guards.
	Alarm dsl.Step[*Verdict, dsl.None] `from:"Scan" if:"Scan.Bad" when_unmet:"skip-cascade"`
	// Archive needs a place.
	Archive dsl.Step[Document, json.RawMessage] `if:"Input.Size == 0" when_unmet:"fail" start_delay:"1m"`
}

type Document struct {
	Kind     string `json:"kind"`
	Scan     bool   `json:"scan,omitempty"`
	Language string `json:"language"`
	Size     int64  `json:"size"`
}

type (
	Verdict   struct{ Bad bool }
	Page      struct{ Text string }
	Finding   struct{ Word string }
	Signature struct{ By string }
)

// ReadInput is what a person gets to see.
type ReadInput struct {
	Document  Document
	Scan      *Verdict
	Translate []Page
	Spell     []Finding
}

// Report is what came of the review: what did not run is nil.
type Report struct {
	Input     Document
	Scan      *Verdict
	Signature *Signature
	Archive   json.RawMessage
}

// PruneJob prunes the archive, unless it is told not to.
type PruneJob struct {
	dsl.Job[Prune, *Pruned] `if_not:"Input.DryRun" when_exhausted:"skip"`
}

type Prune struct {
	DryRun bool
}

type Pruned struct{ Files int }
