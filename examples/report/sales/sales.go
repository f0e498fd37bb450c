// Package sales declares the report on what a shop sells.
package sales

import (
	"time"

	"github.com/flowc-dev/flowc/dsl"
)

//go:generate go tool flowc generate

// Report sums up what was sold since the report before. In a real shop it would
// run in the morning of working days, cron:"CRON_TZ=Europe/Berlin 0 6 * * mon-fri".
type Report struct {
	dsl.Flow[dsl.None, Summary] `cron:"@every 2s" timeout:"30s"`

	// Window says which orders the report is about: those up to the tick that no
	// report before it had.
	Window dsl.Step[dsl.None, Window]
	// Products sums up what was sold of each product.
	Products dsl.Step[Window, []Product]
	// Customers finds out who bought most.
	Customers dsl.Step[Window, []Customer]
	// File keeps the report.
	File dsl.Step[Findings, Summary]
}

type (
	// Window is a span of time; From is not part of it, Until is.
	Window struct{ From, Until time.Time }

	Product struct {
		Name  string
		Sold  int
		Cents int64
	}

	Customer struct {
		Name  string
		Cents int64
	}

	// Findings is what goes into a report.
	Findings struct {
		Window    Window
		Products  []Product
		Customers []Customer
	}

	Summary struct {
		Until        time.Time
		Orders       int
		Cents        int64
		BestProduct  string
		BestCustomer string
	}
)
