package ops_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A flow that is known only at run time can have a schedule as well.
func ExampleListSchedules() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "acct_7_digest",
		Cron:  "CRON_TZ=Asia/Tokyo 30 7 * * mon-fri",
		Steps: []spec.Step{{Slug: "digest"}},
	})
	if err != nil {
		panic(err)
	}

	schedules, err := ops.ListSchedules(ctx, pool, "acct_7_digest")
	if err != nil {
		panic(err)
	}
	for _, s := range schedules {
		fmt.Println(s.Flow, s.Cron, s.NextAt.UTC().Format("15:04"))
	}
	// Output: acct_7_digest CRON_TZ=Asia/Tokyo 30 7 * * mon-fri 22:30
}

func ExamplePauseSchedule() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "nightly_cleanup",
		Cron: "@daily", Steps: []spec.Step{{Slug: "clean"}},
	})
	if err != nil {
		panic(err)
	}

	paused, err := ops.PauseSchedule(ctx, pool, "nightly_cleanup", "the disk is being moved")
	fmt.Println(paused, err)
	resumed, err := ops.ResumeSchedule(ctx, pool, "nightly_cleanup")
	fmt.Println(resumed, err)
	_, err = ops.PauseSchedule(ctx, pool, "process_order", "")
	fmt.Println(errors.Is(err, runtime.ErrNoSchedule))
	// Output:
	// true <nil>
	// true <nil>
	// true
}

func ExampleResumeSchedule() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, spec.Flow{Slug: "weekly_report",
		Cron: "@weekly", Steps: []spec.Step{{Slug: "write"}},
	})
	if err != nil {
		panic(err)
	}

	resumed, err := ops.ResumeSchedule(ctx, pool, "weekly_report")
	fmt.Println(resumed, err) // it was not paused
	// Output: false <nil>
}

func ExampleNextTicks() {
	ctx, pool := context.Background(), connect()

	ticks, err := ops.NextTicks(ctx, pool, "CRON_TZ=Asia/Tokyo 0 9 1 1 *", 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(ticks[0].UTC().Format("2 January 15:04"))
	_, err = ops.NextTicks(ctx, pool, "0 25 * * *", 1)
	fmt.Println(err)
	// Output:
	// 1 January 00:00
	// flowc: invalid option: cron "0 25 * * *": 25 is not within 0 to 23
}
