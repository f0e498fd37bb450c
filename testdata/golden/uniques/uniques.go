// Package uniques declares flows of which one run is enough.
package uniques

import "github.com/flowc-dev/flowc/dsl"

// Sync fetches an account, one run at a time.
type Sync struct {
	dsl.Flow[Account, dsl.None] `unique:"ID, Input.Region.Code,Live,Tenant"`

	// Fetch asks the server.
	Fetch dsl.Step[Account, dsl.None]
}

// Digest mails a digest, once in a day.
type Digest struct {
	dsl.Job[UserID, dsl.None] `unique:"Input" per:"24h" on_duplicate:"error"`
}

// Preview renders the newest version.
type Preview struct {
	dsl.Job[Document, dsl.None] `unique:"DocID" on_duplicate:"replace" deadline:"1h"`
}

// Reindex waits until nobody has written for a while.
type Reindex struct {
	dsl.Job[Document, dsl.None] `unique:"Input.DocID" debounce:"5s" debounce_max:"1m"`
}

// Purge does not meet itself.
type Purge struct {
	dsl.Job[dsl.None, dsl.None] `cron:"@every 1m" unique:"Input"`
}

type Account struct {
	ID     UserID `json:"id"`
	Region Region `json:"region"`
	Live   bool
	Tenant Tenant `json:"tenant"`
	Common
}

type Region struct {
	Code string `json:"code,omitempty"`
}

type Common struct{ Note string }

type UserID string

// Tenant is written by a method of its own.
type Tenant [2]byte

func (t Tenant) MarshalText() ([]byte, error) { return t[:], nil }

func (t *Tenant) UnmarshalText(b []byte) error { copy(t[:], b); return nil }

type Document struct {
	DocID int64 `json:"doc_id,string"`
	Title string
}
