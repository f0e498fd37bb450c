package ops_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
)

func ExampleListShards() {
	var db runtime.DB // several databases, from shards.Open
	shards, err := ops.ListShards(context.Background(), db, time.Now().Add(-time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range shards {
		if s.Error != "" {
			fmt.Println(s.Name, "does not answer:", s.Error)
			continue
		}
		fmt.Println(s.Name, s.State, s.Running, "running", s.Waiting, "waiting")
	}
}

func ExampleShardOf() {
	var db runtime.DB // several databases, from shards.Open
	name, err := ops.ShardOf(context.Background(), db, "01890a5d-ac96-774b-bcce-b302099a8057")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the run is on", name)
}

// What the other shards have can be used when one does not answer.
func ExamplePartial() {
	var db runtime.DB // several databases, from shards.Open
	runs, err := ops.ListRuns(context.Background(), db, ops.RunFilter{})
	if partial := ops.Partial(err); partial != nil {
		for _, s := range partial.Shards {
			fmt.Println("without those of shard", s.Shard)
		}
	} else if err != nil {
		log.Fatal(err)
	}
	for _, r := range runs {
		fmt.Println(r.Shard, r.ID, r.Status)
	}
}
