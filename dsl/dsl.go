// Package dsl has the types that flows are declared with.
//
// A flow is a struct that embeds [Flow] and has a field for each step; a job is
// a struct that embeds [Job]. The types of the steps are the graph: a step runs
// after the steps that give what it takes.
//
//	type ProcessOrder struct {
//		dsl.Flow[Order, Shipment] `max_attempts:"3" timeout:"60s"`
//
//		Validate dsl.Step[Order, Checked]
//		Lines    dsl.Step[Checked, []Line]
//		Pack     dsl.Map[Line, Parcel]
//		Ship     dsl.Step[ShipInput, Shipment]
//	}
//
// A step that writes to the database of its flow can commit with what it writes: with the
// tag tx:"pgx" or tx:"sql", its handler gets the transaction in which it is completed.
//
//	Charge dsl.Step[Checked, Receipt] `tx:"pgx"`
//
// Steps can limit their tasks over all workers, and take turns by key: five of a tenant
// at once, or 500 attempts in a minute that several steps share.
//
//	Charge dsl.Step[Checked, Receipt] `concurrency:"5" key:"Input.TenantID"`
//	Embed  dsl.Map[Chunk, Vector]     `rate:"500/m" gate:"openai"`
//
// The types here are read by the generator and by nothing else: they have no
// behaviour, and the package imports nothing. `flowc help declare` has the tags that
// set options, and the grammar of conditions.
package dsl

// Flow, embedded in a struct, makes it a flow that takes an In and gives an Out.
// Use [None] for a flow that takes or gives nothing. One that takes nothing can be
// started by the clock, with the tag cron:
//
//	type Report struct {
//		dsl.Flow[dsl.None, dsl.None] `cron:"CRON_TZ=Europe/Berlin 30 4 * * mon-fri"`
//		...
//	}
//
// Its five fields are minute, hour, day of the month, month and day of the week;
// @hourly, @daily, @weekly, @monthly, @yearly and @every 90s are others. Without
// CRON_TZ it is UTC. Each tick is one run, whatever the number of workers.
type Flow[In, Out any] struct{ _ [0]func(In) Out }

// Job, embedded in a struct without steps, makes it a job: a flow of one step.
// Use [None] for a job that takes or gives nothing. It takes the tag cron as a
// [Flow] does.
type Job[In, Out any] struct{ _ [0]func(In) Out }

// Step is a step that runs once. It takes In, which is the flow's input, the
// output of one other step, or a struct with a field for each value it waits
// for. Use [None] for a step that takes or gives nothing.
type Step[In, Out any] struct{ _ [0]func(In) Out }

// Map is a step that runs once for each element of a []Item that the flow takes
// or another step gives, and gives an []Out in the same order.
type Map[Item, Out any] struct{ _ [0]func(Item) Out }

// Wait is a step without a handler: it waits until somebody sends an Out, who is shown
// In. In is found as that of a [Step] is; use [None] to show nothing, or for an answer
// that says nothing but to go on.
//
//	Approve dsl.Wait[Question, Approval] `timeout:"72h" when_exhausted:"skip"`
//
// The generated package has a function that sends the answer, and one that lists the runs
// that wait for it. It waits for as long as the tag timeout says, and for ever without
// one.
type Wait[In, Out any] struct{ _ [0]func(In) Out }

// None stands for no value. No step can take it from another.
type None struct{}
