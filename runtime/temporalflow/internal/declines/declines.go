// Package declines says how Temporal differs from what the conformance suite wants.
package declines

import "github.com/flowc-dev/flowc/runtime/internal/conformance"

// Temporal holds the rows of the suite that Temporal declines.
var Temporal = map[string]conformance.Difference{
	"start in the user's transaction":             {Why: "Temporal has none; see Outbox", Says: "the engine has no transactions"},
	"large values":                                {Why: "Temporal takes two megabytes", Says: "Temporal takes 2093056 at most"},
	"upsert of another shape, with data loss":     {Why: "runs go on with the shape that they have, so that none is deleted", Says: "actual  : 0"},
	"delete a flow with runs that have not ended": {Why: "runs cannot be deleted at once"},
	"delete a flow":                               {Why: "runs that have ended stay until the namespace's retention is over", Says: "Runs:0"},
	"delete a run":                                {Why: "the namespace's retention does", Says: "ended runs leave a namespace when its retention is over"},
	"list runs":                                   {Why: "Temporal's UI has them"},
	"list failures":                               {Why: "Temporal's UI has them"},
	"runs beside a run":                           {Why: "Temporal's UI has them"},
	"list tasks":                                  {Why: "Temporal's UI has them"},
	"list tasks in flight":                        {Why: "Temporal's UI has them"},
	"list flows":                                  {Why: "Temporal's UI counts runs"},
	"list workers":                                {Why: "Temporal's command has them"},
	"read a payload":                              {Why: "GetRun reads values"},
	"list payloads":                               {Why: "GetRun reads values"},
	"throughput":                                  {Why: "Temporal's metrics have it"},
	"pause and resume a flow":                     {Why: "Temporal does not pause task queues"},
	"change the priority of a run":                {Why: "a workflow keeps the priority that it was started with"},
	"run now":                                     {Why: "Temporal keeps the time of the next attempt"},
	"prune":                                       {Why: "the namespace's retention does"},
}

func init() {
	for _, row := range conformance.OfTransactions {
		Temporal[row] = conformance.Difference{Why: "Temporal has no transactions"}
	}
	for _, row := range conformance.OfUnique {
		Temporal[row] = conformance.Difference{Why: "the id of a workflow is that of its run"}
	}
	for _, row := range conformance.OfWaits {
		Temporal[row] = conformance.Difference{Why: "Temporal has no steps that wait, snoozes and deadlines yet"}
	}
	for _, row := range conformance.OfGates {
		Temporal[row] = conformance.Difference{Why: "Temporal limits task queues and workers, not keys"}
	}
}
