package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/gen/nearest"
	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

// noSuchFlow returns the error for a slug that does not exist.
func noSuchFlow(ctx context.Context, db runtime.DB, slug string, err error) error {
	if !errors.Is(err, runtime.ErrFlowNotFound) {
		return err
	}
	fix := "`flowc flows list` shows those that exist"
	if near := nearFlow(ctx, db, slug); near != "" {
		fix = "did you mean " + near + "?"
	}
	return fmt.Errorf("flowc: flow %q is not in the database\n\tfix: %s", slug, fix)
}

// noSuchSchedule returns the error for a flow that has no schedule.
func noSuchSchedule(ctx context.Context, db runtime.DB, slug string, err error) error {
	if !errors.Is(err, runtime.ErrNoSchedule) {
		return err
	}
	fix := "`flowc schedules list` shows those that have one"
	schedules, _ := ops.ListSchedules(ctx, db) // without them, there is less to say
	var slugs []string
	for _, s := range schedules {
		slugs = append(slugs, s.Flow)
	}
	if near := nearest.Name(slug, slugs); near != "" {
		fix = "did you mean " + near + "?"
	}
	return fmt.Errorf("flowc: flow %q has no schedule\n\tfix: %s", slug, fix)
}

// nearFlow returns the flow of the database that was probably meant by a slug, or "".
func nearFlow(ctx context.Context, db runtime.DB, slug string) string {
	flows, _ := ops.ListFlows(ctx, db, time.Now()) // without them, there is less to say
	var slugs []string
	for _, f := range flows {
		slugs = append(slugs, f.Slug)
	}
	return nearest.Name(slug, slugs)
}

// requireFlows refuses slugs of flows that do not exist: a misspelt one would silently
// find nothing.
func requireFlows(ctx context.Context, db runtime.DB, slugs []string) error {
	var faults []error
	for _, slug := range slugs {
		_, err := ops.GetDefinition(ctx, db, slug)
		faults = append(faults, noSuchFlow(ctx, db, slug, err))
	}
	return errors.Join(faults...)
}

// meantFlow suggests another flow if an error is that one does not exist.
func meantFlow(ctx context.Context, db runtime.DB, err error) error {
	var missing *runtime.FlowNotFoundError
	if errors.As(err, &missing) && nearFlow(ctx, db, missing.Flow) != "" {
		return noSuchFlow(ctx, db, missing.Flow, missing)
	}
	return err
}
