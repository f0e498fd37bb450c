package main

// cells are the comparisons, ours first in each. The amounts are those of one turn, which
// is to take a second or two.
func cells(scale float64) []cell {
	n := func(base int) int { return max(int(float64(base)*scale), 10) }
	return append([]cell{
		{name: "jobs", title: "jobs of one step: started in batches of 5000, worked to the end", systems: []system{
			{"flowc", startManyAndWork(job, n(20_000))},
			{"River", riverManyAndWork(n(20_000))},
		}},
		{name: "effects", title: "jobs that insert a row and are completed in one transaction, 32 at once", systems: []system{
			{"flowc", workEffects(n(1_200))},
			{"River", riverCompleteTx(n(1_200))},
			{"two transactions", workPlainEffects(n(1_200))},
		}},
		{name: "start", title: "jobs started one a call by 16 goroutines", systems: []system{
			{"flowc", startOneACall(job, n(6_000))},
			{"River", riverOneACall(n(3_000))},
		}},
		{name: "unique", title: "jobs that are unique by a field, started one a call by 16 goroutines, every second like one that is there", systems: []system{
			{"flowc", startUnique(n(3_000))},
			{"River", riverUnique(n(2_400))},
		}},
		{name: "diamond", title: "a diamond of 4 steps, started and worked at the same time", systems: []system{
			{"flowc", startManyBesideWork(diamond, n(4_000))},
			{"DBOS", dbosWork(n(500))},
			{"one call a task", oneCallATask(diamond, n(30))},
		}},
		{name: "map", title: "tasks of maps", systems: []system{
			{"10000", mapOf(10_000, n(10_000))},
			{"100", mapOf(100, n(10_000))},
		}},
		{name: "latency", title: "one run on an idle system, start to handler of the last step", systems: []system{
			{"flowc", latency(job, n(40))},
			{"chain of 4", latency(chain, n(25))},
			{"River", riverLatency(n(40))},
		}},
		{name: "processes", title: "jobs worked by 16 processes of a worker each, by 1, and by 16 of River's, with 1024 handlers in all", systems: []system{
			{"16", flowcWorkerKind.inProcesses(n(20_000), 16, 1024)},
			{"1", flowcWorkerKind.inProcesses(n(20_000), 1, 1024)},
			{"River, 16", riverWorkerKind.inProcesses(n(20_000), 16, 1024)},
		}},
		{name: "shards", title: "jobs started in batches of 5000 and worked to the end, on shards with a server each", systems: []system{
			{"4", workOnShards(n(10_000), 4)},
			{"2", workOnShards(n(10_000), 2)},
			{"1", workOnShards(n(10_000), 1)},
		}},
		{name: "idle-flows", title: "one run on an idle system, in a worker of many flows", systems: []system{
			{"4000", latencyAmong(4_000, n(25))},
			{"10", latencyAmong(10, n(25))},
		}},
		{name: "busy-flows", title: "jobs of 10 flows, in a worker of many flows", systems: []system{
			{"4000", jobsAmong(4_000, n(10_000))},
			{"10", jobsAmong(10, n(10_000))},
		}},
		{name: "typed", title: "one start after the other", systems: []system{
			{"StartX", typedStart(true, n(800))},
			{"plain pgx", typedStart(false, n(800))},
		}},
		{name: "flows", title: "claims of 10 over many flows, of which 10 have work", systems: []system{
			{"1000", claims(10_000, 1000, n(80))},
			{"10", claims(10_000, 10, n(80))},
		}},
		{name: "backlog", title: "claims of 10 from a long queue", systems: []system{
			{"1000000", claims(n(1_000_000), 1, n(200))},
			{"1000", claims(1000, 1, n(200))},
		}},
		{name: "history", title: "jobs beside finished runs, and lists", systems: []system{
			{"1000000", withHistory(n(1_000_000), n(5_000))},
			{"1000", withHistory(1000, n(5_000))},
		}},
		{name: "delayed", title: "jobs beside tasks that wait for their time, in the same flow and in another", systems: []system{
			{"500000", besideDelayed(n(500_000), n(10_000))},
			{"none", besideDelayed(0, n(10_000))},
		}},
		{name: "answers", title: "answers to runs that wait, and jobs: one a call by 16 goroutines, until the step behind has run", systems: []system{
			{"answers", answer(n(1_000))},
			{"starts", startBesideWork(job, n(1_000))},
		}},
		{name: "waits", title: "claims of 10 beside runs of the same flow that wait", systems: []system{
			{"1000000", claimsBesideWaits(n(1_000_000), n(200))},
			{"none", claimsBesideWaits(0, n(200))},
		}},
		{name: "gated", title: "jobs of one step with a limit for each of 50 keys, and without: started in batches of 5000, worked to the end", systems: []system{
			{"gated", workKeyed(gatedJob, n(6_000))},
			{"plain", workKeyed(keyedJob, n(6_000))},
		}},
		{name: "limits", title: "one run of a key that has room, start to handler, beside keys at their limit", systems: []system{
			{"1000", latencyBesideFull(n(1_000), n(25))},
			{"none", latencyBesideFull(0, n(25))},
		}},
		{name: "writer", title: "jobs beside an idle transaction that has written, 120000 in all turns", systems: []system{
			{"beside", besideWriter(n(20_000))},
			{"none", besideDelayed(0, n(20_000))},
		}},
		{name: "idle", title: "a worker without work, and the server alone; a unit is a second", systems: []system{
			{"flowc", idle(1, 2)},
			{"no worker", idle(0, 2)},
		}},
		{name: "memory", title: "memory of a worker for each task in flight", systems: []system{
			{"1000 of 1 kB", memoryInFlight(1_000, 1<<10)},
			{"64 of 1 MB", memoryInFlight(64, 1<<20)},
		}},
	}, temporalCells(n)...)
}
