package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// tableRows returns the rows of the tables in a section of a page, without their headers.
func tableRows(t *testing.T, topic, heading string) (rows [][]string) {
	t.Helper()
	for _, p := range helpPages() {
		for _, s := range p.sections {
			if p.topic != topic || s.heading != heading {
				continue
			}
			lines := regexp.MustCompile(`(?m)^\|.*$`).FindAllString(s.text, -1)
			for _, line := range lines[2:] {
				rows = append(rows, cells(line))
			}
		}
	}
	require.NotEmpty(t, rows, "%s: %s", topic, heading)
	return rows
}

// sources parses the files of a package that are not tests.
func sources(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	require.NotEmpty(t, files, dir)
	return files
}

// values calls fn with each constant and variable of a package, and its type as it is
// written.
func values(t *testing.T, dir string, fn func(name, typ string, value ast.Expr)) {
	for _, file := range sources(t, dir) {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range group.Specs {
				v, ok := s.(*ast.ValueSpec)
				if !ok {
					continue
				}
				typ := ""
				if v.Type != nil {
					typ = types.ExprString(v.Type)
				}
				for i, name := range v.Names {
					if i < len(v.Values) {
						fn(name.Name, typ, v.Values[i])
					}
				}
			}
		}
	}
}

// number returns a constant of a package that no other can see. Times are in seconds.
func number(t *testing.T, dir, name string) int64 {
	t.Helper()
	var found constant.Value
	values(t, dir, func(have, _ string, value ast.Expr) {
		if have == name {
			text := strings.ReplaceAll(types.ExprString(value), "time.Second", "1")
			v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, text)
			require.NoError(t, err, "%s.%s", dir, name)
			found = v.Value
		}
	})
	require.NotNil(t, found, "%s has no constant %s", dir, name)
	n, exact := constant.Int64Val(constant.ToInt(found))
	require.True(t, exact)
	return n
}

// short returns a span without what is zero: 6h, 1m.
func short(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

// TestLimitsPage compares the limits on the page with the code that has them.
func TestLimitsPage(t *testing.T) {
	t.Parallel()
	private := func(dir, name string) string { return fmt.Sprint(number(t, dir, name)) }
	inSQL := func(file, pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(read(t, "runtime/engine/sql/functions/"+file))
		require.NotNil(t, m, "%s has no %s", file, pattern)
		return m[1]
	}
	const jsontext, dashboard = "runtime/internal/jsontext", "runtime/dashboard"
	most := fmt.Sprint(1<<31 - 1)
	// The numbers that a row has, in their order.
	want := map[string][]string{
		"slug of a flow, its version included": {fmt.Sprint(spec.MaxFlowSlug)},
		"slug of a step":                       {fmt.Sprint(spec.MaxStepSlug)},
		"maps and conditional steps in a row":  {fmt.Sprint(spec.MaxChain)},
		"steps of a flow, elements of a map":   nil,
		"max_attempts":                         {"1", most, fmt.Sprint(spec.DefaultMaxAttempts)},
		"base_delay, start_delay":              {"0", most, spec.DefaultBaseDelay.String()},
		"timeout":                              {"1", most, short(spec.DefaultTimeout)},
		"deadline":                             {"1", most},
		"max_wait":                             {"1", most, short(spec.DefaultMaxWait)},
		"keep":                                 {"1", most, short(spec.DefaultKeep)},
		"per, debounce, debounce_max":          {"1", most, "10"},
		"concurrency":                          {"1", most},
		"rate":                                 {"1", most, "1", fmt.Sprint(spec.MaxDefaultBurst)},
		"name of a gate":                       {fmt.Sprint(spec.MaxGate)},
		"the key of a wait":                    {"1", fmt.Sprint(spec.MaxKey)},
		"span of `@every` in cron":             {"1"},
		"wait before a retry":                  {short(spec.MaxRetryDelay)},
		"an input or output, as JSON":          {fmt.Sprint(runtime.MaxValueBytes)},
		"a number with an exponent, written without it":     {private(jsontext, "MaxDigits")},
		"all numbers of a value, written without exponents": {private(jsontext, "MaxGrowth")},
		"texts":                       {"0"},
		"all inputs of one StartMany": {private("runtime", "maxStartBytes")},
		"headers of a run, as JSON":   {fmt.Sprint(runtime.MaxHeaderBytes)},
		"an idempotency key":          nil,
		"time to start at":            {"9999"},
		"text of an attempt's error":  {private("runtime/internal/attempt", "maxErrorBytes")},
		"failed attempts that a task lists": {
			inSQL("lists.sql", `order by o.failed_at desc limit (\d+)\) f`), inSQL("lists.sql", `left\(f.error_message, (\d+)\)`),
		},
		"wait of a Sync function":                                  {short(runtime.DefaultSyncTimeout)},
		"how often a wait looks, without notifications":            {runtime.DefaultPollInterval.String()},
		"handlers at once":                                         {fmt.Sprint(worker.DefaultConcurrency)},
		"grace of a stopping worker":                               {worker.DefaultGrace.String(), fmt.Sprint(3 * number(t, "runtime/worker", "cleanupTime"))},
		"deaths of a worker alone with a task":                     {fmt.Sprint(worker.DefaultMaxCrashes)},
		"own connections":                                          {private("runtime/worker/internal/dbconn", "maxConns")},
		"silence after which a worker is presumed dead":            {private("runtime/worker/internal/backend", "DeadAfter")},
		"lease of a task":                                          {inSQL("claim.sql", `secs => l.timeout \+ (\d+)\.0`)},
		"results in one report":                                    {private("runtime/worker", "maxReportResults"), private("runtime/worker", "maxReportBytes")},
		"results that wait to be reported":                         {private("runtime/worker", "maxWaitingBytes")},
		"runs that one call of Retention or `flowc prune` deletes": {private("runtime/worker", "maxPruned")},
		"runs that `flowc prune --dry-run` counts":                 {"1000000"},
		"a page of runs":                                           {"1", fmt.Sprint(page), "50"},
		"failures, tasks in flight, ticks":                         {"1", "1000"},
		"points of a throughput":                                   {private("runtime/ops", "maxPoints")},
		"unfinished tasks of a step that an explanation considers": {inSQL("explain.sql", `order by o.task_index limit (\d+)\) t`)},
		"runs that an action of the dashboard meets":               {private(dashboard, "mostAtOnce")},
		"payloads on one page of the dashboard":                    {private(dashboard, "pageBytes")},
		"a payload on its own page":                                {private(dashboard, "mostAlone")},
		"steps and ties in a drawn graph":                          {private(dashboard, "mostDrawn")},
		"pages that follow runs, of one dashboard":                 {private(dashboard, "mostStreams")},
		"version of PostgreSQL":                                    {fmt.Sprint(engine.MinServer)},
		"name of a role":                                           {private("runtime/engine", "roleMost")},
	}
	require.Equal(t, number(t, "runtime/ops", "pruneBatch"), number(t, "runtime/worker", "maxPruned"))
	numbers := regexp.MustCompile(`\d[\dhms]*`)
	for _, heading := range []string{"Limits of declarations", "Limits of runs", "Limits of workers", "Limits of lists and pages", "Limits of the database"} {
		for _, row := range tableRows(t, "limits", heading) {
			wanted, known := want[row[0]]
			require.True(t, known, "nothing compares the limit of %s", row[0])
			limit := strings.ReplaceAll(row[1], "UTF-8", "UTF")
			require.Equal(t, wanted, numbers.FindAllString(limit, -1), row[0])
			delete(want, row[0])
			requireNamed(t, row[2])
		}
	}
	require.Empty(t, want, "the page does not have these")

	// Where the limit is no constant, it is asked.
	for _, n := range []int{-1, 1001} {
		_, err := ops.ListRuns(t.Context(), nil, ops.RunFilter{Limit: n})
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
		_, err = ops.ListFailures(t.Context(), nil, time.Now(), n)
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
		_, err = ops.ListTasksInFlight(t.Context(), nil, n)
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
		_, err = ops.NextTicks(t.Context(), nil, "@daily", n)
		require.ErrorIs(t, err, runtime.ErrInvalidOption)
	}
	for _, n := range []int{1, 1000} {
		_, err := ops.ListRuns(t.Context(), nil, ops.RunFilter{Limit: n})
		require.ErrorIs(t, err, runtime.ErrNoDB)
	}
	require.Contains(t, read(t, "runtime/ops/runs.go"), "filter.Limit = 50\n")
	require.Contains(t, read(t, "runtime/ops/control.go"), "batch = 1_000_000\n")
}

// requireNamed checks that each name with its package in a text is exported there.
func requireNamed(t *testing.T, text string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\b(runtime|handler|spec|ops|worker|engine|flowtest|dashboard|otelflow|otelworker|sqldb|devdb)\.([A-Z]\w*)`).FindAllStringSubmatch(text, -1) {
		dir := map[string]string{"runtime": "runtime", "otelworker": "runtime/otelflow/otelworker"}[m[1]]
		if dir == "" {
			dir = "runtime/" + m[1]
		}
		found := false
		for _, file := range sources(t, dir) {
			found = found || file.Scope.Lookup(m[2]) != nil
		}
		require.True(t, found, "there is no %s", m[0])
	}
}

// TestHelpNamesWhatThereIs holds that names of packages on the pages are exported there.
func TestHelpNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	for _, p := range helpPages() {
		requireNamed(t, read(t, "cmd/flowc/help/"+p.topic+".md"))
	}
}

// TestTroubleshootReasons holds that the page has every kind of reason, with a text that
// such a reason really has.
func TestTroubleshootReasons(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 30, 0, 0, time.Local)
	r := func(kind runtime.ReasonKind, r runtime.Reason) runtime.Reason { r.Kind, r.At = kind, now; return r }
	examples := map[string]runtime.Reason{
		"scheduled": r(runtime.ReasonScheduled, runtime.Reason{Until: now.Add(2 * time.Hour)}),
		"paused":    r(runtime.ReasonPaused, runtime.Reason{Since: now.Add(-3 * time.Minute), By: "ann"}),
		"no_worker": r(runtime.ReasonNoWorker, runtime.Reason{Flow: "import_v2", Message: "import"}),
		"silent":    r(runtime.ReasonSilent, runtime.Reason{Step: "charge", Worker: "shop 5a1f6f2f3a11", Since: now.Add(-12 * time.Second)}),
		"requested": r(runtime.ReasonRequested, runtime.Reason{Since: now.Add(-4 * time.Minute), Message: "cancel: the customer gave up"}),
		"answered":  r(runtime.ReasonAnswered, runtime.Reason{Step: "approve", Since: now.Add(-3 * time.Minute), By: "ann"}),
		"waiting":   r(runtime.ReasonWaiting, runtime.Reason{Step: "approve", Since: now.Add(-30 * time.Minute), Until: now.Add(5 * time.Minute), Message: "p-1"}),
		"snoozed":   r(runtime.ReasonSnoozed, runtime.Reason{Step: "export", Until: now.Add(5 * time.Minute), Message: "40 %"}),
		"retry":     r(runtime.ReasonRetry, runtime.Reason{Step: "charge", Until: now.Add(40 * time.Second), Message: "503 from the bank", Attempt: 2, MaxAttempts: 5}),
		"delayed":   r(runtime.ReasonDelayed, runtime.Reason{Step: "remind", Until: now.Add(5 * time.Minute)}),
		"suspect":   r(runtime.ReasonSuspect, runtime.Reason{Step: "resize", Attempt: 1}),
		"turn":      r(runtime.ReasonTurn, runtime.Reason{Step: "charge", Since: now.Add(-3 * time.Minute), Message: `5 at once, key "7", and 5 are in flight`}),
		"queued":    r(runtime.ReasonQueued, runtime.Reason{Step: "charge", Since: now.Add(-3 * time.Minute)}),
		"running":   r(runtime.ReasonRunning, runtime.Reason{Step: "charge", Since: now.Add(-20 * time.Second), Worker: "shop 5a1f6f2f3a11"}),
		"outbox":    r(runtime.ReasonOutbox, runtime.Reason{Attempt: 4, Message: "attempt 4 failed: no connection"}),
		"stuck":     r(runtime.ReasonStuck, runtime.Reason{}),
	}
	var kinds []string
	for _, row := range tableRows(t, "troubleshoot", "A run does not move") {
		kind := strings.Trim(row[0], "`")
		kinds = append(kinds, kind)
		require.Equal(t, examples[kind].String(), row[1], kind)
		require.NotEmpty(t, row[2])
	}
	require.Equal(t, constants(t, "runtime/reason.go", "Reason"), kinds)
}

// constants returns the values of the constants of a file whose names begin so, in order.
func constants(t *testing.T, file, prefix string) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^\t`+prefix+`[A-Z]\w*\s+(?:\w+\s+)?= "(\w+)"$`).FindAllStringSubmatch(read(t, file), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestTroubleshootStatuses holds that the page has all statuses.
func TestTroubleshootStatuses(t *testing.T) {
	t.Parallel()
	listed := map[string][]string{}
	for _, row := range tableRows(t, "troubleshoot", "What the statuses mean") {
		listed[row[0]] = append(listed[row[0]], strings.Trim(row[1], "`"))
	}
	require.Equal(t, map[string][]string{
		"run":    constants(t, "runtime/runinfo.go", "Run"),
		"step":   constants(t, "runtime/runinfo.go", "Step"),
		"task":   constants(t, "runtime/ops/tasks.go", "Task"),
		"worker": constants(t, "runtime/ops/workers.go", "Worker"),
	}, listed)
	page := read(t, "cmd/flowc/help/troubleshoot.md")
	health := page[strings.Index(page, "`worker.Health`"):]
	for _, state := range constants(t, "runtime/worker/health.go", "State") {
		require.Contains(t, health[:strings.Index(health, "\n\n")], "`"+state+"`")
	}
}

// TestTroubleshootErrors holds that the page names every error that packages export.
func TestTroubleshootErrors(t *testing.T) {
	t.Parallel()
	var listed, all []string
	for _, row := range tableRows(t, "troubleshoot", "What the errors mean") {
		for _, m := range regexp.MustCompile("`([a-z]+\\.\\w+)`").FindAllStringSubmatch(row[0], -1) {
			listed = append(listed, m[1])
		}
	}
	for _, dir := range []string{"runtime", "runtime/handler", "runtime/spec", "runtime/engine"} {
		for _, file := range sources(t, dir) {
			for name, object := range file.Scope.Objects {
				if (object.Kind == ast.Typ || strings.HasPrefix(name, "Err")) && regexp.MustCompile(`^(Err[A-Z]\w*|[A-Z]\w*Error)$`).MatchString(name) {
					all = append(all, filepath.Base(dir)+"."+name)
				}
			}
		}
	}
	slices.Sort(listed)
	slices.Sort(all)
	require.Equal(t, all, listed)
}

// TestTroubleshootDoctor holds that the page has what the doctor looks at, in its order.
func TestTroubleshootDoctor(t *testing.T) {
	t.Parallel()
	var listed, all []string
	for _, row := range tableRows(t, "troubleshoot", "What the doctor looks at") {
		listed = append(listed, strings.Trim(row[0], "`"))
	}
	for _, c := range checks {
		all = append(all, c.name)
	}
	require.Equal(t, all, listed)
}
