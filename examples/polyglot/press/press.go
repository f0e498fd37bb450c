// Package press declares how articles are published: the flow Publish runs in Go, the flow
// Typeset in Node. The types of both are here.
package press

import "github.com/flowc-dev/flowc/dsl"

//go:generate go tool flowc generate

// Publish has an article typeset and prints it.
type Publish struct {
	dsl.Flow[Article, Issue]

	Typeset dsl.Step[Article, Page]
	Print   dsl.Step[Page, Issue]
}

// Typeset makes a page of an article. Its steps are in typesetter/worker.mjs.
type Typeset struct {
	dsl.Flow[Article, Page] `max_attempts:"2" base_delay:"0s"`

	Render  dsl.Step[Article, HTML]
	Outline dsl.Step[Article, Headings]
	Page    dsl.Step[PageInput, Page]
}

// Article is what an author writes, in a little Markdown.
type Article struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// HTML is an article as browsers show it.
type HTML struct {
	Body  string `json:"body"`
	Words int    `json:"words"`
}

// Headings are the headings of an article.
type Headings []string

// PageInput is what the step page takes of the steps before it.
type PageInput struct {
	Render  HTML
	Outline Headings
}

// Page is an article that is ready for print.
type Page struct {
	HTML     string   `json:"html"`
	Headings []string `json:"headings"`
	Words    int      `json:"words"`
}

// Issue is what was printed.
type Issue struct {
	Bytes int  `json:"bytes"`
	Page  Page `json:"page"`
}
