package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// syncAccount fetches an account, one run at a time for each.
var syncAccount = spec.Flow{
	Slug:   "sync_account",
	Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "account"}}},
	Steps:  []spec.Step{{Slug: "fetch"}},
}

// While a run has not ended, a start of one like it returns that run. An operator can start
// another beside it.
func ExampleWithoutUnique() {
	ctx, pool := context.Background(), connect()
	_, err := runtime.UpsertFlow(ctx, pool, syncAccount)
	must(err)

	first, err := runtime.StartFlow(ctx, pool, "sync_account", map[string]int{"account": 7})
	must(err)
	again, err := runtime.StartFlow(ctx, pool, "sync_account", map[string]int{"account": 7})
	must(err)
	fmt.Println(again.Existed(), again.ID() == first.ID())

	beside, err := runtime.StartFlow(ctx, pool, "sync_account", map[string]int{"account": 7}, runtime.WithoutUnique())
	must(err)
	fmt.Println(beside.Existed(), beside.ID() == first.ID())
	// Output:
	// true true
	// false false
}

// With on_duplicate:"error", whoever comes second learns which run is there.
func ExampleDuplicateRunError() {
	ctx, pool := context.Background(), connect()
	digest := spec.Flow{
		Slug: "digest",
		Unique: &spec.Unique{
			By: []spec.Path{{spec.RunKey, "user"}}, Per: 24 * time.Hour, OnDuplicate: spec.DuplicateError,
		},
		Steps: []spec.Step{{Slug: "mail"}},
	}
	_, err := runtime.UpsertFlow(ctx, pool, digest)
	must(err)

	first, err := runtime.StartFlow(ctx, pool, "digest", map[string]string{"user": "ada"})
	must(err)
	_, err = runtime.StartFlow(ctx, pool, "digest", map[string]string{"user": "ada"})
	var duplicate *runtime.DuplicateRunError
	fmt.Println(errors.As(err, &duplicate), duplicate.RunID == first.ID())
	// Output:
	// true true
}
