package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
)

// A run that is started in a transaction starts when that commits, and never if
// it does not: the order and its processing cannot come apart.
func ExampleStartFlow_inTransaction() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "")
	if err != nil {
		panic(err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders (id) VALUES ($1)`, 7); err != nil {
			return err
		}
		_, err := runtime.StartFlow(ctx, tx, "process_order", map[string]int{"id": 7},
			runtime.WithIdempotencyKey("order 7"))
		return err
	})
	fmt.Println(err)
}

func ExampleRun_Wait() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "")
	if err != nil {
		panic(err)
	}
	run, err := runtime.StartFlow(ctx, pool, "process_order", map[string]int{"id": 7})
	if err != nil {
		panic(err)
	}
	output, err := run.Wait(ctx, runtime.WithTimeout(10*time.Second))
	var failed *runtime.RunFailedError
	switch {
	case errors.Is(err, runtime.ErrTimeout):
		fmt.Println("still running, look again later:", run.ID())
	case errors.As(err, &failed):
		fmt.Println(failed.Step, "failed:", failed.Message)
	case err == nil:
		fmt.Printf("%s\n", output)
	}
}

// A flow can be put together at run time, for example one for each tenant.
func ExampleUpsertFlow() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "")
	if err != nil {
		panic(err)
	}
	result, err := runtime.UpsertFlow(ctx, pool, "acct_123_hubspot_sync_v1", runtime.FlowOptions{
		MaxAttempts: runtime.Set(5),
		Steps: []runtime.StepOptions{
			{Slug: "reshape"},
			{Slug: "create_contact", Deps: []string{"reshape"}, Timeout: runtime.Set(10 * time.Second)},
		},
	}, runtime.KeepRuns())
	fmt.Println(result.Status, err)
}

// Handlers say with their error what is to become of the task.
func ExampleRetryAfter() {
	charge := func(ctx context.Context, cents int) (string, error) {
		switch {
		case cents < 0:
			return "", runtime.Permanent(fmt.Errorf("cannot charge %d", cents))
		case time.Now().Hour() == 3:
			return "", runtime.RetryAfter(time.Hour, errors.New("the bank is closed for the night"))
		}
		runtime.Logger(ctx).Info("charged", "cents", cents)
		return "paid", nil
	}
	_ = runtime.Handle("charge", runtime.Input[int](), charge)
}
