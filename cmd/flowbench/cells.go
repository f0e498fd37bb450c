package main

// cells are the comparisons, ours first in each. The amounts are those of one turn, which
// is to take a second or two.
func cells(scale float64) []cell {
	n := func(base int) int { return max(int(float64(base)*scale), 10) }
	return append([]cell{
		{name: "jobs", title: "jobs of one step: started in batches of 5000, worked to the end", systems: []system{
			{"flowc", startManyAndWork(job, n(25_000))},
			{"River", riverManyAndWork(n(25_000))},
			{"floor", floor(n(25_000))},
		}},
		{name: "effects", title: "jobs that insert a row and are completed in one transaction, 32 at once", systems: []system{
			{"flowc", workEffects(n(2_000))},
			{"River", riverCompleteTx(n(2_000))},
			{"two transactions", workPlainEffects(n(2_000))},
		}},
		{name: "start", title: "jobs started one a call by 16 goroutines", systems: []system{
			{"flowc", startOneACall(job, n(8_000))},
			{"River", riverOneACall(n(4_000))},
		}},
		{name: "unique", title: "jobs that are unique by a field, started one a call by 16 goroutines, every second like one that is there", systems: []system{
			{"flowc", startUnique(n(4_000))},
			{"River", riverUnique(n(2_000))},
		}},
		{name: "diamond", title: "a diamond of 4 steps, started and worked at the same time", systems: []system{
			{"flowc", startManyBesideWork(diamond, n(6_000))},
			{"DBOS", dbosWork(n(800))},
			{"one call a task", oneCallATask(diamond, n(300))},
		}},
		{name: "map", title: "tasks of maps", systems: []system{
			{"10000", mapOf(10_000, n(20_000))},
			{"100", mapOf(100, n(20_000))},
		}},
		{name: "latency", title: "one run on an idle system, start to handler of the last step", systems: []system{
			{"flowc", latency(job, n(50))},
			{"chain of 4", latency(chain, n(40))},
			{"River", riverLatency(n(50))},
		}},
		{name: "processes", title: "jobs worked by 16 processes of a worker each, and by 1, with 1024 handlers in all", systems: []system{
			{"16", flowcCrew.inProcesses(n(40_000), 16, 1024)},
			{"1", flowcCrew.inProcesses(n(40_000), 1, 1024)},
			{"4", flowcCrew.inProcesses(n(40_000), 4, 1024)},
			{"River, 16", riverCrew.inProcesses(n(40_000), 16, 1024)},
		}},
		{name: "shards", title: "jobs started in batches of 5000 and worked to the end, on shards with a server each", rounds: 5, systems: []system{
			{"4", workOnShards(n(20_000), 4)},
			{"2", workOnShards(n(20_000), 2)},
			{"1", workOnShards(n(20_000), 1)},
		}},
		{name: "idle-flows", title: "one run on an idle system, in a worker of many flows", systems: []system{
			{"4000", latencyAmong(4_000, n(40))},
			{"10", latencyAmong(10, n(40))},
		}},
		{name: "busy-flows", title: "jobs of 10 flows, in a worker of many flows", systems: []system{
			{"4000", jobsAmong(4_000, n(15_000))},
			{"10", jobsAmong(10, n(15_000))},
		}},
		{name: "typed", title: "one start after the other", systems: []system{
			{"StartX", typedStart(true, n(1_500))},
			{"plain pgx", typedStart(false, n(1_500))},
		}},
		{name: "flows", title: "claims of 10 over many flows, of which 10 have work", systems: []system{
			{"1000", claims(10_000, 1000, n(100))},
			{"10", claims(10_000, 10, n(100))},
		}},
		{name: "backlog", title: "claims of 10 from a long queue", systems: []system{
			{"1000000", claims(n(1_000_000), 1, n(300))},
			{"1000", claims(1000, 1, n(300))},
		}},
		{name: "history", title: "jobs beside finished runs, and lists", systems: []system{
			{"1000000", withHistory(n(1_000_000), n(5_000))},
			{"1000", withHistory(1000, n(5_000))},
		}},
		{name: "delayed", title: "jobs beside tasks that wait for their time, in the same flow and in another", systems: []system{
			{"500000", besideDelayed(n(500_000), n(20_000))},
			{"none", besideDelayed(0, n(20_000))},
		}},
		{name: "answers", title: "answers to runs that wait, and jobs: one a call by 16 goroutines, until the step behind has run", rounds: 5, systems: []system{
			{"answers", answer(n(2_000))},
			{"starts", startBesideWork(job, n(2_000))},
		}},
		{name: "waits", title: "claims of 10 beside runs of the same flow that wait", rounds: 5, systems: []system{
			{"1000000", claimsBesideWaits(n(1_000_000), n(200))},
			{"none", claimsBesideWaits(0, n(200))},
		}},
		{name: "gated", title: "jobs of one step with a limit for each of 50 keys, and without: started in batches of 5000, worked to the end", systems: []system{
			{"gated", workKeyed(gatedJob, n(6_000))},
			{"plain", workKeyed(keyedJob, n(6_000))},
		}},
		{name: "limits", title: "one run of a key that has room, start to handler, beside keys at their limit", rounds: 5, systems: []system{
			{"1000", latencyBesideFull(n(1_000), n(40))},
			{"none", latencyBesideFull(0, n(40))},
		}},
		{name: "writer", title: "jobs beside an idle transaction that has written, 100000 in all turns", systems: []system{
			{"beside", besideWriter(n(10_000))},
			{"none", besideDelayed(0, n(10_000))},
		}},
		{name: "idle", title: "a worker without work, and the server alone; a unit is a second", rounds: 5, systems: []system{
			{"flowc", idle(1, 3)},
			{"no worker", idle(0, 3)},
		}},
		{name: "memory", title: "memory of a worker for each task in flight", rounds: 5, systems: []system{
			{"1000 of 1 kB", memoryInFlight(1_000, 1<<10)},
			{"64 of 1 MB", memoryInFlight(64, 1<<20)},
		}},
	}, temporalCells(n)...)
}
