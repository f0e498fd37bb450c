// Package machine is a run as pure data: what becomes of its steps as tasks complete and
// fail. Its transitions are those of the engine's SQL; see there for why.
//
// A machine calls no handler, takes no lock and reads no clock: each call is given the
// time. The same calls lead to the same run, so that an engine can repeat them from a
// record. An engine drives it:
//
//	run := flow.Start(id, input, now)
//	for _, task := range run.Next() {
//		n := run.Begin(task)
//		… // call the handler with run.Values(task)
//		switch v := task.Step.Judge(n, result); v.Outcome {
//		case machine.Completed:
//			run.Complete(task, v.Output, now)
//		case machine.Retried:
//			… // after v.RetryIn
//		default:
//			run.Fail(task, v.Err, now)
//		}
//	}
//
// and asks for the next tasks after each that ended.
package machine
