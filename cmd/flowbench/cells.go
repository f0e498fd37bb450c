package main

// cells are the comparisons, ours first in each.
func cells(scale float64) []cell {
	n := func(base int) int { return max(int(float64(base)*scale), 10) }
	jobs := n(120_000) // some seconds: how workers begin and end must not count
	return []cell{
		{"jobs", "jobs of one step: started in batches of 5000, worked to the end", "job", []system{
			{"flowc", startManyAndWork(job, jobs)},
			{"River", riverManyAndWork(jobs)},
			{"floor", floor(jobs)},
		}},
		{"start", "jobs started one a call by 16 goroutines", "job", []system{
			{"flowc", startOneACall(job, n(8_000))},
			{"River", riverOneACall(n(8_000))},
		}},
		{"diamond", "a diamond of 4 steps, started and worked at the same time", "run", []system{
			{"flowc", startManyBesideWork(diamond, n(20_000))},
			{"DBOS", dbosWork(n(2_400))},
			{"one call a task", oneCallATask(diamond, n(400))},
		}},
		{"map", "tasks of maps", "task", []system{
			{"10000", mapOf(10_000, n(20_000))},
			{"100", mapOf(100, n(20_000))},
		}},
		{"latency", "one run on an idle system, start to handler of the last step", "run", []system{
			{"flowc", latency(job, n(100))},
			{"chain of 4", latency(chain, n(60))},
			{"River", riverLatency(n(100))},
		}},
		{"processes", "jobs worked by 16 processes of a worker each, and by 1, with 1024 handlers in all", "job", []system{
			{"16", workInProcesses(jobs, 16, 1024)},
			{"1", workInProcesses(jobs, 1, 1024)},
		}},
		{"typed", "one start after the other", "start", []system{
			{"StartX", typedStart(true, n(2_000))},
			{"plain pgx", typedStart(false, n(2_000))},
		}},
		{"flows", "claims of 10 over many flows, of which 10 have work", "claim", []system{
			{"1000", claims(10_000, 1000, n(100))},
			{"10", claims(10_000, 10, n(100))},
		}},
		{"backlog", "claims of 10 from a long queue", "claim", []system{
			{"1000000", claims(n(1_000_000), 1, n(300))},
			{"1000", claims(1000, 1, n(300))},
		}},
		{"history", "jobs beside finished runs, and lists", "job", []system{
			{"1000000", withHistory(n(1_000_000), n(5_000))},
			{"1000", withHistory(1000, n(5_000))},
		}},
		{"delayed", "jobs beside tasks that wait for their time, in the same flow and in another", "job", []system{
			{"500000", besideDelayed(n(500_000), n(30_000))},
			{"none", besideDelayed(0, n(30_000))},
		}},
		{"writer", "jobs beside an idle transaction that has written", "job", []system{
			{"beside", besideWriter(n(100_000))},
			{"none", besideDelayed(0, n(100_000))},
		}},
		{"idle", "a worker without work, and the server alone; a unit is a second", "second", []system{
			{"flowc", idle(1, 10)},
			{"no worker", idle(0, 10)},
		}},
	}
}
