package runtime_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowc-dev/flowc/runtime"
)

// A flow that is known only at run time can have a schedule as well.
func ExampleListSchedules() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, "acct_7_digest", runtime.FlowOptions{
		Cron:  "CRON_TZ=Asia/Tokyo 30 7 * * mon-fri",
		Steps: []runtime.StepOptions{{Slug: "digest"}},
	})
	if err != nil {
		panic(err)
	}

	schedules, err := runtime.ListSchedules(ctx, pool, "acct_7_digest")
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
	_, err := runtime.UpsertFlow(ctx, pool, "nightly_cleanup", runtime.FlowOptions{
		Cron: "@daily", Steps: []runtime.StepOptions{{Slug: "clean"}},
	})
	if err != nil {
		panic(err)
	}

	paused, err := runtime.PauseSchedule(ctx, pool, "nightly_cleanup", "the disk is being moved")
	fmt.Println(paused, err)
	resumed, err := runtime.ResumeSchedule(ctx, pool, "nightly_cleanup")
	fmt.Println(resumed, err)
	_, err = runtime.PauseSchedule(ctx, pool, "process_order", "")
	fmt.Println(errors.Is(err, runtime.ErrNoSchedule))
	// Output:
	// true <nil>
	// true <nil>
	// true
}

func ExampleResumeSchedule() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, "weekly_report", runtime.FlowOptions{
		Cron: "@weekly", Steps: []runtime.StepOptions{{Slug: "write"}},
	})
	if err != nil {
		panic(err)
	}

	resumed, err := runtime.ResumeSchedule(ctx, pool, "weekly_report")
	fmt.Println(resumed, err) // it was not paused
	// Output: false <nil>
}

func ExampleRunSchedule() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, "weekly_invoice", runtime.FlowOptions{
		Cron: "@weekly", Steps: []runtime.StepOptions{{Slug: "invoice"}},
	})
	if err != nil {
		panic(err)
	}

	run, err := runtime.RunSchedule(ctx, pool, "weekly_invoice")
	if err != nil {
		panic(err)
	}
	info, err := run.Info(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Status, info.ScheduledAt.IsZero())
	// Output: running false
}

func ExampleNextTicks() {
	ctx, pool := context.Background(), connect()

	ticks, err := runtime.NextTicks(ctx, pool, "CRON_TZ=Asia/Tokyo 0 9 1 1 *", 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(ticks[0].UTC().Format("2 January 15:04"))
	_, err = runtime.NextTicks(ctx, pool, "0 25 * * *", 1)
	fmt.Println(err)
	// Output:
	// 1 January 00:00
	// flowc: invalid option: cron "0 25 * * *": 25 is not within 0 to 23
}

func ExampleScheduledAt() {
	collect := func(ctx context.Context, _ runtime.None) (string, error) {
		day := runtime.ScheduledAt(ctx).UTC().AddDate(0, 0, -1)
		return "the report of " + day.Format("2006-01-02"), nil
	}
	_ = runtime.Handle("collect", runtime.Nothing, collect)
}
