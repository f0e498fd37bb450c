// Package cron declares what the clock starts.
package cron

import "github.com/flowc-dev/flowc/dsl"

// Report adds up the day.
type Report struct {
	dsl.Flow[dsl.None, Total] `cron:"CRON_TZ=Europe/Berlin 30 4 * * mon-fri" max_attempts:"5"`

	Collect dsl.Step[dsl.None, []Amount]
	Sum     dsl.Step[[]Amount, Total]
}

// Tidy removes what is old.
type Tidy struct {
	dsl.Job[dsl.None, dsl.None] `cron:"@every 90s"`
}

// Invoice is for the last working day but one, more or less.
type Invoice struct {
	dsl.Job[dsl.None, dsl.None] `cron:"0 6,18 28/2 * *"`
}

type (
	Amount struct{ Cents int }
	Total  struct{ Cents int }
)
