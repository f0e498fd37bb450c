// Package sales declares how files of sales come into the database.
package sales

import "github.com/flowc-dev/flowc/dsl"

//go:generate go tool flowc generate

// ImportSales reads a file of sales, loads every line, and sums up.
type ImportSales struct {
	dsl.Flow[File, Summary] `timeout:"1m"`

	// Extract reads the lines of the file.
	Extract dsl.Step[File, []Line]
	// Load turns a line into a sale in euros and stores it.
	Load dsl.Map[Line, Loaded]
	// Summarise adds up what was loaded.
	Summarise dsl.Step[[]Loaded, Summary]
}

// File is a file of sales, as CSV: id, day, country, amount, currency.
type File struct {
	Path string `json:"path"`
}

// Line is one line of a file, as it is there.
type Line struct {
	Number int      `json:"n"`
	Fields []string `json:"f"`
}

// Loaded is the result of a line: a sale in euro cents, or the reason why there is none.
type Loaded struct {
	Line    int    `json:"n"`
	Country string `json:"country,omitempty"`
	Cents   int64  `json:"cents,omitempty"`
	Wrong   string `json:"wrong,omitempty"`
}

// Summary is what a file came to.
type Summary struct {
	Lines     int              `json:"lines"`
	Loaded    int              `json:"loaded"`
	Cents     int64            `json:"cents"`
	ByCountry map[string]int64 `json:"by_country"`
	Wrong     []Loaded         `json:"wrong,omitempty"`
}
