package conformance

import (
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// OfUnique are the rows of runs that are unique.
var OfUnique = []string{
	"unique runs", "unique runs of one call", "unique run with an id or a key", "run without unique", "duplicate is an error",
	"duplicate replaces", "duplicates of one call replace", "one run in a time", "retry of a unique run", "unique runs of versions",
	"unique runs of a schedule", debounced,
}

const debounced = "debounced start"

// unique are rows of flows of which one run is enough for the same values in the input.
func unique(r *rows) {
	flow := func(slug string, u spec.Unique) spec.Flow {
		u.By = []spec.Path{{spec.RunKey, "account"}, {spec.RunKey, "in", "region"}}
		return spec.Flow{Slug: slug, Unique: &u, Steps: []spec.Step{{Slug: "work"}, {Slug: "approve", Type: spec.TypeWait, Deps: []string{"work"}}}}
	}
	work := map[string]function{"work": give(`1`)}
	r.open(
		serve(flow("unique", spec.Unique{}), work), serve(flow("unique_v2", spec.Unique{}), work),
		serve(flow("unique_error", spec.Unique{OnDuplicate: spec.DuplicateError}), work),
		serve(flow("unique_replace", spec.Unique{OnDuplicate: spec.DuplicateReplace}), work),
		serve(flow("unique_per", spec.Unique{Per: time.Hour}), work),
		serve(flow("unique_debounce", spec.Unique{Debounce: time.Hour}), work),
		serve(spec.Flow{Slug: "unique_cron", Cron: "@yearly", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey}}},
			Steps: []spec.Step{{Slug: "approve", Type: spec.TypeWait}}}, nil),
	)
	end := func(c *check, id string) {
		_, err := runtime.FailWait(c.ctx, c.db, id, "approve", "enough")
		c.ok(err)
		c.becomes(id, runtime.RunFailed)
	}
	duplicate := func(c *check, err error, id string) {
		var d *runtime.DuplicateRunError
		c.as(err, &d)
		c.Equal(id, d.RunID)
	}

	r.row("unique runs", func(c *check) {
		first := c.start("unique", `{"account": 1, "in": {"region": "eu"}, "n": 1}`)
		c.False(first.Existed())
		again := c.start("unique", `{"account": 1.0, "in": {"region": "eu"}, "n": 2}`)
		c.True(again.Existed())
		c.Equal(first.ID(), again.ID())
		c.Equal("account=1, in.region=eu", c.get(first.ID()).Unique)
		others := []string{`{"account": "1", "in": {"region": "eu"}}`, `{"account": 1, "in": {"region": "us"}}`, `{"account": 1}`, `{}`}
		for _, other := range others {
			c.False(c.start("unique", other).Existed(), other)
		}
		c.True(c.start("unique", `{"account": null, "in": null}`).Existed(), "what is missing is null")
		end(c, first.ID())
		c.False(c.start("unique", `{"account": 1, "in": {"region": "eu"}}`).Existed())
	})
	r.row("unique runs of one call", func(c *check) {
		there := c.start("unique", `{"account": 21}`)
		runs, err := runtime.StartMany(c.ctx, c.db, "unique", []any{
			map[string]int{"account": 22, "n": 1}, map[string]int{"account": 21}, map[string]int{"account": 22, "n": 2}, map[string]int{"account": 23}})
		c.ok(err)
		c.Equal([]bool{false, true, true, false}, []bool{runs[0].Existed(), runs[1].Existed(), runs[2].Existed(), runs[3].Existed()})
		c.Equal(there.ID(), runs[1].ID())
		c.Equal(runs[0].ID(), runs[2].ID())
		c.JSONEq(`{"account": 22, "n": 1}`, string(c.get(runs[0].ID()).Input))
	})
	r.row("unique run with an id or a key", func(c *check) {
		there := c.start("unique", `{"account": 31}`)
		_, err := runtime.StartFlow(c.ctx, c.db, "unique", map[string]int{"account": 31}, runtime.WithRunID(uuid.NewString()))
		duplicate(c, err, there.ID())
		c.Equal(there.ID(), c.start("unique", `{"account": 31}`, runtime.WithIdempotencyKey("31")).ID())
		keyed := c.start("unique", `{"account": 32}`, runtime.WithIdempotencyKey("31"))
		c.False(keyed.Existed(), "the key stayed free")
		c.Equal(keyed.ID(), c.start("unique", `{"account": 33}`, runtime.WithIdempotencyKey("31")).ID())
		c.False(c.start("unique", `{"account": 33}`).Existed(), "a start that found its run by the key has no part in it")
	})
	r.row("run without unique", func(c *check) {
		there := c.start("unique", `{"account": 41}`)
		c.False(c.start("unique", `{"account": 41}`, runtime.WithoutUnique()).Existed())
		c.Equal(there.ID(), c.start("unique", `{"account": 41}`).ID())
	})
	r.row("duplicate is an error", func(c *check) {
		there := c.start("unique_error", `{"account": 1}`)
		_, err := runtime.StartFlow(c.ctx, c.db, "unique_error", map[string]int{"account": 1})
		duplicate(c, err, there.ID())
		_, err = runtime.StartMany(c.ctx, c.db, "unique_error", []any{map[string]int{"account": 2}, map[string]int{"account": 1}})
		duplicate(c, err, there.ID())
		c.False(c.start("unique_error", `{"account": 2}`).Existed(), "nothing was started")
	})
	r.row("duplicate replaces", func(c *check) {
		first := c.start("unique_replace", `{"account": 1}`)
		second := c.start("unique_replace", `{"account": 1}`)
		c.False(second.Existed())
		c.becomes(first.ID(), runtime.RunCancelled)
		c.Equal("replaced by run "+second.ID(), c.get(first.ID()).CancelReason)
		c.False(c.get(second.ID()).Status.Ended())
	})
	r.row("duplicates of one call replace", func(c *check) {
		there := c.start("unique_replace", `{"account": 11}`)
		runs, err := runtime.StartMany(c.ctx, c.db, "unique_replace", []any{
			map[string]int{"account": 11, "n": 1}, map[string]int{"account": 12, "n": 1}, map[string]int{"account": 12, "n": 2},
			map[string]int{"account": 11, "n": 2}, map[string]int{"account": 13}})
		c.ok(err)
		c.Equal([]string{runs[3].ID(), runs[2].ID()}, []string{runs[0].ID(), runs[1].ID()}, "the newest is started")
		c.Equal([]bool{true, true, false, false, false},
			[]bool{runs[0].Existed(), runs[1].Existed(), runs[2].Existed(), runs[3].Existed(), runs[4].Existed()})
		c.JSONEq(`{"account": 11, "n": 2}`, string(c.get(runs[0].ID()).Input))
		c.JSONEq(`{"account": 12, "n": 2}`, string(c.get(runs[1].ID()).Input))
		c.becomes(there.ID(), runtime.RunCancelled)
		c.Equal("replaced by run "+runs[3].ID(), c.get(there.ID()).CancelReason)
		next := c.start("unique_replace", `{"account": 12, "n": 3}`)
		c.becomes(runs[2].ID(), runtime.RunCancelled)
		c.False(c.get(next.ID()).Status.Ended())
		keyed, err := runtime.StartMany(c.ctx, c.db, "unique_replace", []any{
			map[string]int{"account": 14, "n": 1}, map[string]int{"account": 14, "n": 2}}, runtime.WithKeys("replace 1", "replace 2"))
		c.ok(err)
		again := c.start("unique_replace", `{"account": 15}`, runtime.WithIdempotencyKey("replace 2"))
		c.Equal(keyed[1].ID(), again.ID(), "the one that was started has its own key")
		c.JSONEq(`{"account": 14, "n": 2}`, string(c.get(again.ID()).Input))
	})
	r.row("one run in a time", func(c *check) {
		first := c.start("unique_per", `{"account": 1}`)
		end(c, first.ID())
		c.Equal(first.ID(), c.start("unique_per", `{"account": 1}`).ID())
		c.False(c.start("unique_per", `{"account": 2}`).Existed())
		c.ok(runtime.RetryRun(c.ctx, c.db, first.ID()))
	})
	r.row("retry of a unique run", func(c *check) {
		first := c.start("unique", `{"account": 51}`)
		end(c, first.ID())
		second := c.start("unique", `{"account": 51}`)
		duplicate(c, runtime.RetryRun(c.ctx, c.db, first.ID()), second.ID())
		duplicate(c, runtime.RetryStep(c.ctx, c.db, first.ID(), "work"), second.ID())
		end(c, second.ID())
		c.ok(runtime.RetryRun(c.ctx, c.db, first.ID()))
		c.Equal(first.ID(), c.start("unique", `{"account": 51}`).ID())
	})
	r.row("unique runs of versions", func(c *check) {
		first := c.start("unique", `{"account": 61}`)
		again := c.start("unique_v2", `{"account": 61}`)
		c.Equal(first.ID(), again.ID())
		c.Equal("unique", again.Flow())
	})
	r.row("unique runs of a schedule", func(c *check) {
		first, err := runtime.RunSchedule(c.ctx, c.db, "unique_cron")
		c.ok(err)
		_, err = runtime.RunSchedule(c.ctx, c.db, "unique_cron")
		duplicate(c, err, first.ID())
		end(c, first.ID())
		_, err = runtime.RunSchedule(c.ctx, c.db, "unique_cron")
		c.ok(err)
	})
	r.row(debounced, func(c *check) {
		first := c.start("unique_debounce", `{"account": 1, "n": 1}`)
		c.False(first.Existed())
		again := c.start("unique_debounce", `{"account": 1, "n": 2}`)
		c.True(again.Existed(), "it has not begun")
		c.Equal(first.ID(), again.ID())
		c.Equal(runtime.RunScheduled, c.get(first.ID()).Status)
		c.JSONEq(`{"account": 1, "n": 2}`, string(c.get(first.ID()).Input))
		c.ok(runtime.RescheduleRun(c.ctx, c.db, first.ID(), time.Now()))
		c.becomes(first.ID(), runtime.RunWaiting)
		c.False(c.start("unique_debounce", `{"account": 1, "n": 3}`).Existed())
	})
}

// becomes waits until a run has a status.
func (c *check) becomes(id string, status runtime.RunStatus) {
	for c.get(id).Status != status {
		time.Sleep(poll)
	}
}
