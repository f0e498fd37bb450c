package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/flowc-dev/flowc/runtime"
)

// withoutTime is a logger that says the same every time.
func withoutTime() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// The Serve function of a generated package makes a service of handlers; for a flow
// that is known only at run time a program does it. A worker does all but shipping
// here, and charges at most two orders at once.
func ExampleServe() {
	service := runtime.Serve(processOrder.Definition(),
		[]runtime.Handler{
			runtime.Handle("charge", runtime.Input[Order](), charge),
			runtime.Handle("ship", runtime.Output[string]("charge"), ship),
		},
		runtime.Without("ship"),
		runtime.Limit(2, "charge"),
	)
	for _, handler := range service.Handlers() {
		fmt.Println(service.Definition().Slug, handler.Step())
	}
	fmt.Println(service.As("process_order_acme").Definition().Slug)
	// Output:
	// process_order charge
	// process_order_acme
}

// A handler is a function over its own types; what it takes and gives is JSON only
// in the database.
func ExampleHandle() {
	type parcel struct {
		Input  Order    `json:"run"`
		Labels []string `json:"label"`
	}
	label := runtime.Handle("label", runtime.Item[string](), func(_ context.Context, line string) (string, error) {
		return "label for " + line, nil
	})
	pack := runtime.Handle("pack", runtime.Join(func(p parcel) parcel { return p }, "run", "label"),
		func(_ context.Context, p parcel) (string, error) {
			return fmt.Sprintf("order %d with %d labels", p.Input.ID, len(p.Labels)), nil
		})

	ctx := context.Background()
	output, err := label.Work(ctx, runtime.Values{Item: json.RawMessage(`"tea"`)})
	fmt.Println(string(output), err)
	output, err = pack.Work(ctx, runtime.Values{
		Input:   json.RawMessage(`{"id": 7}`),
		Outputs: json.RawMessage(`{"label": ["label for tea", "label for pot"]}`),
	})
	fmt.Println(string(output), err)
	// Output:
	// "label for tea" <nil>
	// "order 7 with 2 labels" <nil>
}

// A handler for a flow that is known only at run time takes values as they are.
func ExampleHandleValues() {
	echo := runtime.HandleValues("echo", func(_ context.Context, v runtime.Values) (any, error) {
		return map[string]json.RawMessage{"got": v.Input}, nil
	})
	output, err := echo.Work(context.Background(), runtime.Values{Input: json.RawMessage(`[1, 2]`)})
	fmt.Println(string(output), err)
	// Output: {"got":[1,2]} <nil>
}

// Functions that take nothing, or give nothing, are adapted.
func ExampleNoOutput() {
	greet := runtime.Handle("greet", runtime.Input[string](), runtime.NoOutput(func(_ context.Context, name string) error {
		fmt.Println("hello", name)
		return nil
	}))
	count := runtime.Handle("count", runtime.Nothing, runtime.NoInput(func(context.Context) (int, error) { return 7, nil }))
	sweep := runtime.Handle("sweep", runtime.Nothing, runtime.NoValues(func(context.Context) error { return nil }))

	for _, handler := range []runtime.Handler{greet, count, sweep} {
		output, err := handler.Work(context.Background(), runtime.Values{Input: json.RawMessage(`"Ada"`)})
		fmt.Println(string(output), err)
	}
	// Output:
	// hello Ada
	// null <nil>
	// 7 <nil>
	// null <nil>
}

// What a handler returns says what becomes of its task.
func ExamplePermanent() {
	handler := func(ctx context.Context, order Order) (string, error) {
		switch {
		case order.Cents < 0:
			return "", runtime.Permanent(errors.New("no try will mend this"))
		case order.Cents == 0:
			return "", runtime.Skip("there is nothing to pay")
		case order.Cents > 1000:
			return "", runtime.RetryAfter(time.Minute, errors.New("the bank is busy"))
		}
		return "paid", nil
	}
	var permanent *runtime.PermanentError
	var skip *runtime.SkipError
	var later *runtime.RetryAfterError
	for _, cents := range []int{-1, 0, 2000, 5} {
		_, err := handler(context.Background(), Order{Cents: cents})
		switch {
		case errors.As(err, &permanent):
			fmt.Println("failed for good:", err)
		case errors.As(err, &skip):
			fmt.Println(err)
		case errors.As(err, &later):
			fmt.Printf("again after %s: %v\n", later.Delay, err)
		default:
			fmt.Println("done")
		}
	}
	// Output:
	// failed for good: no try will mend this
	// skipped: there is nothing to pay
	// again after 1m0s: the bank is busy
	// done
}

// Handlers learn from their context what they do, and log with it. A test of a
// handler makes such a context itself.
func ExampleLogger() {
	handler := func(ctx context.Context) {
		task, ok := runtime.TaskFromContext(ctx)
		fmt.Println(task.Step, task.Attempt, "of", task.MaxAttempts, ok)
		runtime.Logger(ctx).Info("charging", "cents", 500)
	}

	ctx := runtime.WithLogger(context.Background(), withoutTime())
	ctx = runtime.WithTask(ctx, runtime.Task{
		RunID: "01890a5d-ac96-774b-bcce-b302099a8057", Flow: "process_order", Step: "charge", Attempt: 2, MaxAttempts: 3,
	})
	handler(ctx)
	// Output:
	// charge 2 of 3 true
	// level=INFO msg=charging flow=process_order run_id=01890a5d-ac96-774b-bcce-b302099a8057 step=charge index=0 attempt=2 cents=500
}

// Middleware stands around the handlers of a service.
func ExampleUse() {
	timed := func(ctx context.Context, task runtime.Task, next func(context.Context) error) error {
		fmt.Println("before", task.Step)
		defer fmt.Println("after", task.Step)
		return next(ctx)
	}
	service := runtime.Serve(processOrder.Definition(), []runtime.Handler{
		runtime.Handle("ship", runtime.Output[string]("charge"), ship),
	}, runtime.Use(timed))

	ctx := runtime.WithTask(context.Background(), runtime.Task{Step: "ship"})
	output, err := service.Handlers()[0].Work(ctx, runtime.Values{Outputs: json.RawMessage(`{"charge": "receipt 7"}`)})
	fmt.Println(string(output), err)
	// Output:
	// before ship
	// after ship
	// "parcel for receipt 7" <nil>
}
