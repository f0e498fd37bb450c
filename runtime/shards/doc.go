// Package shards spreads flows over several PostgreSQL databases, each with flowc's engine.
// A program opens them together and uses them like one:
//
//	err := shards.Init(ctx, pools) // once: map[string]*pgxpool.Pool{"a": …, "b": …}
//	db, err := shards.Open(ctx, pools)
//	_, err = greet.UpsertGreet(ctx, db)
//	run, err := greet.StartGreet(ctx, db, greet.Input{Name: "Ada"})
//	out, err := run.Wait(ctx)
//	w, err := shards.NewWorker(db, worker.Config{}, greet.Serve(handlers))
//	err = w.Run(ctx)
//
// A run lives on one shard, with all that belongs to it; what databases have to do together
// is only to agree on where a run starts. Shards are added with [DB.Add] and drained with
// [DB.Drain] while work goes on; runs do not move.
//
// # Placement
//
// A run without a key starts on one of the active shards, each in turn, and its id says on
// which: its last 16 bits are the number of the shard. So it is read and controlled without
// a search. The runs of one StartMany start on one shard, all or none.
//
// A run with a key, or with an id that the caller chose, starts on the shard that the hash
// of its id gives (rendezvous hashing). Adding a shard moves few keys to it, and the runs
// that they have remain where they are: a start with such a key first looks at the shards
// to which the key belonged earlier. The runs of a StartMany with keys may belong to several
// shards; then they are all or none on each shard only, and a call that failed is repeated
// with the same keys.
//
// [DB.On] and [DB.In] start a run on a shard that the caller chooses, by the tenant for
// example, and In in a transaction of the caller's. There, a key names one run of its flow on
// that shard: the same key on another shard, or without On and In, names another run, whose
// id is another.
//
// Databases that have run flows before may become shards; their runs and keys are found. If
// two of them have used the same key of a flow, both have a run with the same id: the DB
// finds one of them, always the same as long as both answer and the map does not change, and
// lists both; [DB.On] reads, controls and deletes the other by its id.
//
// # The map
//
// Which shards there are is the map. It is kept in each of the databases, with all its
// earlier versions. A start carries the version that its process knows, and in the
// transaction of the start the database compares it with its own: a process with an old map
// reads the new one and places the run again. So no key is used on two shards, whatever the
// order in which processes learn of a change.
//
// # When a shard is down
//
// What needs a shard that is down fails with an [Error] that has its name: runs that are
// there, and starts with keys that belong there or did earlier. Starts without keys go to
// the other shards once one has failed, and a moment after the shard is back it gets runs
// again. A schedule has one shard, and waits with it. Upserting and deleting flows, and
// changes of the map, need all shards. That a run does not exist is certain only when all
// have said so.
package shards
