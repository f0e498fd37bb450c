// Package limits declares flows whose steps have limits, and take turns by key.
package limits

import "github.com/flowc-dev/flowc/dsl"

// Index makes the documents of a tenant searchable.
type Index struct {
	dsl.Flow[Upload, dsl.None]

	// Split cuts a document into chunks.
	Split dsl.Step[Upload, Chunks]  `key:"Input.TenantID"`
	List  dsl.Step[Chunks, []Chunk] `concurrency:"1" strict_order:"true" key:"Split.Shard"`
	// Embed asks a service that everybody shares.
	Embed dsl.Map[Chunk, Vector] `rate:"500/m" gate:"openai"`
	// Title asks it, too.
	Title dsl.Step[Chunks, Title]      `rate:"500/m,100" gate:"openai"`
	Store dsl.Map[Vector, dsl.None]    `concurrency:"5" rate:"1/s,20" key:"Input.TenantID" max_attempts:"5"`
	Tell  dsl.Step[Title, dsl.None]    `key:"Input.Owner" if:"Title.Sure" gate:"Mail_2" concurrency:"12"`
	Tidy  dsl.Step[dsl.None, dsl.None] `after:"Tell" rate:"3600/h"`
}

// Mail sends a mail, a few of each sender.
type Mail struct {
	dsl.Job[Letter, dsl.None] `gate:"Mail_2" concurrency:"12" key:"Input.From.Number"`
}

// Render takes customers in turn.
type Render struct {
	dsl.Job[Letter, dsl.None] `key:"Input.From.Number"`
}

// Ingest takes a few uploads of each tenant at once.
type Ingest struct {
	dsl.Flow[Upload, dsl.None] `concurrency:"5" key:"TenantID"`

	Read  dsl.Step[Upload, Chunks]
	Write dsl.Step[Chunks, dsl.None] `concurrency:"2"`
}

// Rebuild has one run in progress at a time, and its version 2 another one.
type Rebuild struct {
	dsl.Flow[dsl.None, dsl.None] `concurrency:"1" version:"2"`

	Drop dsl.Step[dsl.None, dsl.None]
	Fill dsl.Step[dsl.None, dsl.None] `after:"Drop"`
}

// Sort has a limit for each sender, who may be unknown.
type Sort struct {
	dsl.Flow[Letter, dsl.None] `key:"Input.From.Number" concurrency:"3"`

	Read dsl.Step[Letter, dsl.None]
	File dsl.Step[Letter, dsl.None] `after:"Read"`
}

type Upload struct {
	TenantID string  `json:"tenant_id"`
	Owner    *string `json:"owner"`
}

type Chunks struct {
	Shard int8 `json:"shard,string"`
	Count int
}

type Chunk struct{ Text string }

type Vector []float64

type Title struct {
	Text string
	Sure bool
}

type Letter struct {
	From *Sender `json:"from,omitempty"`
}

type Sender struct {
	Number uint64 `json:"number"`
}
