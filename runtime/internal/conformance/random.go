package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A randomFlow is a flow with what its handlers do, and an input.
type randomFlow struct {
	input string
	def   spec.Flow
	does  map[string]behaviour // by step
}

// A behaviour is what the handler of a step does: the task of an index fails so
// often, and then ends in one of some ways. Lists that are shorter than the tasks
// are used again. A step that waits is answered with the first end.
type behaviour struct {
	failures []int
	ends     []string // an output, or one of the words below
}

// What a handler may do other than give an output of its own.
const (
	echoes   = "echo"        // gives what it was given, in an object
	echoList = "echo a list" // gives it in a list, for a map
	skips    = "skip"
	givesUp  = "permanent"
)

// refuses is the end of a wait whose answer fails it.
const refuses = "refuse"

// work echoes what it is given in most of its outputs, and in all errors, so that a value
// that is another than it should be is seen.
func (b behaviour) work(ctx context.Context, v handler.Values) (any, error) {
	task, _ := handler.TaskFromContext(ctx)
	at := fmt.Sprintf("%s %d in attempt %d of %s", task.Step, task.Index, task.Attempt, given(v))
	if task.Attempt <= b.fails(task.Index) {
		return nil, errors.New("broke: " + at)
	}
	switch end := b.end(task.Index); end {
	case skips:
		return nil, handler.Skip("not wanted: " + at)
	case givesUp:
		return nil, handler.Permanent(errors.New("never: " + at))
	case echoes:
		return map[string]any{"k": 1, "input": v.Input, "outputs": v.Outputs, "item": v.Item, "index": task.Index}, nil
	case echoList:
		return []any{v.Outputs, v.Input, task.Step}, nil
	default:
		return json.RawMessage(end), nil
	}
}

func (b behaviour) fails(index int) int  { return b.failures[index%len(b.failures)] }
func (b behaviour) end(index int) string { return b.ends[index%len(b.ends)] }

// attempts returns how many attempts a task takes out of so many.
func (b behaviour) attempts(index, most int) int { return min(b.fails(index)+1, most) }

// given returns what a handler was given in a form that all engines agree on: they may
// write numbers, and the members of objects, differently.
func given(v handler.Values) string {
	parts := make([]any, 3)
	for i, raw := range []json.RawMessage{v.Input, v.Outputs, v.Item} {
		if raw != nil && json.Unmarshal(raw, &parts[i]) != nil {
			parts[i] = "no JSON: " + string(raw)
		}
	}
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // it was JSON
	}
	return string(text)
}

func (f randomFlow) service() handler.Service {
	functions := map[string]function{}
	for _, step := range f.def.Steps {
		if step.Type != spec.TypeWait {
			functions[step.Slug] = f.does[step.Slug].work
		}
	}
	return serve(f.def, functions)
}

// answer answers all waits of a run, each twice: the first answer counts.
func (f randomFlow) answer(ctx context.Context, db runtime.DB, run string) error {
	for _, step := range f.def.Steps {
		if step.Type != spec.TypeWait {
			continue
		}
		var err error
		if answer := f.does[step.Slug].end(0); answer == refuses {
			_, err = runtime.FailWait(ctx, db, run, step.Slug, "refused: "+step.Slug)
		} else {
			_, err = runtime.Signal(ctx, db, run, step.Slug, json.RawMessage(answer))
		}
		if err != nil && !errors.Is(err, runtime.ErrNotWaiting) {
			return err
		}
		again, err := runtime.Signal(ctx, db, run, step.Slug, "another answer")
		if again == runtime.Accepted || err != nil && !errors.Is(err, runtime.ErrNotWaiting) {
			return fmt.Errorf("answering step %s of run %s again: %s, %w", step.Slug, run, again, err)
		}
	}
	return nil
}

var (
	modes    = []spec.Mode{spec.ModeFail, spec.ModeSkip, spec.ModeSkipCascade}
	unmet    = []spec.Mode{spec.ModeSkip, spec.ModeSkip, spec.ModeSkipCascade, spec.ModeSkipCascade, spec.ModeFail}
	constant = []string{`1`, `{"k": 1}`, `{"k": 1.0, "l": [1, {"m": null}]}`, `{"k": 2}`, `null`, `[]`, `"x"`, `true`, `[1, [2], {"k": 1}]`}
	outputs  = slices.Concat(constant, slices.Repeat([]string{echoes}, 6))
	answers  = slices.Concat(constant, []string{refuses})
	patterns = []string{`1`, `1.00`, `1e0`, `{"k": 1}`, `{"k": 10e-1}`, `{"l": [{"m": null}]}`, `{}`, `[]`, `[[2]]`, `[1]`, `null`, `"x"`, `true`}
	inputs   = []string{`{"k": 1}`, `{"k": 2}`, `null`, `"x"`, `{"k": [1, 2], "l": {"k": 1.0}}`}
	arrays   = []string{`[]`, `[1]`, `[null, {"k": 1}]`, `["x", [1], 3]`}
	lists    = []string{`[]`, `[1]`, `[2, null]`, `[[1], {"k": 1}, "x"]`, `[3, 4]`, `{"k": 1}`}
)

// randomFlows generates flows, with steps that wait or without. Failures of runs are rare
// enough for most steps of most runs to be reached.
var randomFlows = map[bool]*rapid.Generator[randomFlow]{
	true:  rapid.Custom(func(t *rapid.T) randomFlow { return randomFlowOf(t, true) }),
	false: rapid.Custom(func(t *rapid.T) randomFlow { return randomFlowOf(t, false) }),
}

func randomFlowOf(t *rapid.T, waits bool) randomFlow {
	f := randomFlow{does: map[string]behaviour{}}
	f.def.MaxAttempts = rapid.IntRange(1, 3).Draw(t, "attempts")
	f.def.BaseDelay = spec.Set(time.Duration(0))
	overInput, mapped := false, map[string]bool{}
	for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
		s := spec.Step{
			Slug:          fmt.Sprintf("%c%d", 'z'-rune(i), i), // names sort against the order
			WhenExhausted: rapid.SampledFrom(modes).Draw(t, "exhausted"),
		}
		most := 3
		if rapid.IntRange(0, 2).Draw(t, "map") == 0 {
			s.Type, most = spec.TypeMap, 1
		} else if waits && rapid.IntRange(0, 3).Draw(t, "wait") == 0 {
			s.Type = spec.TypeWait
		}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "root") > 0 {
			for _, d := range rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 1, min(i, most), rapid.ID).Draw(t, "deps") {
				s.Deps = append(s.Deps, f.def.Steps[d].Slug)
			}
		}
		rootMap := s.Type == spec.TypeMap && len(s.Deps) == 0 // takes no condition
		switch {
		case rootMap:
			overInput = true
		case s.Type == spec.TypeMap:
			mapped[s.Deps[0]] = true
		}
		if s.Type != spec.TypeWait && rapid.Bool().Draw(t, "own attempts") {
			s.MaxAttempts = rapid.IntRange(1, 3).Draw(t, "step attempts")
		}
		if rapid.IntRange(0, 2).Draw(t, "condition") == 0 && !rootMap {
			if rapid.Bool().Draw(t, "if") {
				s.If = randomPattern(t, s.Deps)
			}
			if rapid.Bool().Draw(t, "if not") {
				s.IfNot = randomPattern(t, s.Deps)
			}
			if s.If != nil || s.IfNot != nil {
				s.WhenUnmet = rapid.SampledFrom(unmet).Draw(t, "unmet")
			}
		}
		f.def.Steps = append(f.def.Steps, s)
	}
	f.input = rapid.SampledFrom(inputs).Draw(t, "input")
	if overInput {
		f.input = rapid.SampledFrom(arrays).Draw(t, "input")
	}
	for _, s := range f.def.Steps {
		ends := outputs
		if mapped[s.Slug] && s.Type != spec.TypeMap {
			ends = slices.Concat(lists, []string{echoList, echoList})
		}
		if s.Type == spec.TypeWait {
			ends = answers
			if mapped[s.Slug] {
				ends = lists
			}
			f.does[s.Slug] = behaviour{[]int{0}, []string{rapid.SampledFrom(ends).Draw(t, "answer")}}
			continue
		}
		b := behaviour{failures: rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 9}), 1, 3).Draw(t, "failures")}
		for range rapid.IntRange(1, 3).Draw(t, "ends") {
			if rapid.IntRange(0, 15).Draw(t, "odd end") == 0 {
				b.ends = append(b.ends, rapid.SampledFrom([]string{skips, givesUp}).Draw(t, "end"))
			} else {
				b.ends = append(b.ends, rapid.SampledFrom(ends).Draw(t, "end"))
			}
		}
		f.does[s.Slug] = b
	}
	return f
}

func randomPattern(t *rapid.T, deps []string) json.RawMessage {
	key := rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
	if len(deps) > 0 {
		key = rapid.SampledFrom(deps).Draw(t, "key")
	}
	return json.RawMessage(fmt.Sprintf(`{%q: %s}`, key, rapid.SampledFrom(patterns).Draw(t, "pattern")))
}

// SeedVariable names the variable of the environment that has [TestRandom] repeat the
// flows of a run whose log has it.
const SeedVariable = "FLOWC_CONFORMANCE_SEED"

// TestRandom runs a number of random flows on two engines, and compares each run of the
// second with that of the first. If both can, it then retries the runs, or a step of those
// that completed, and compares them again.
func TestRandom(t *testing.T, count int, reference, engine Engine) {
	t.Helper()
	seed := int(time.Now().UnixNano() % 1_000_000)
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		seed, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	t.Logf("%s=%d", SeedVariable, seed)
	_, noWaits := engine.Declines[answerWait]
	flows := examples(seed, count, !noWaits)
	wantDB, want := openAndRun(t, reference, flows)
	gotDB, got := openAndRun(t, engine, flows)
	seen := map[string]int{}
	for i, f := range flows {
		require.NoError(t, f.compare(engine, want[i], got[i]))
		require.NoError(t, f.sound(reference, want[i]), "the reference")
		seen[string(want[i].Status)]++
		for _, s := range want[i].States {
			if s.Type == spec.TypeWait {
				seen["wait "+string(s.Status)]++
			}
			seen[strings.TrimSpace("step "+string(s.Status)+" "+s.SkipReason)]++
		}
	}
	t.Log(seen)
	kinds := []string{"completed", "failed", "step completed", "step skipped condition_unmet", "step skipped handler_failed", "step skipped dependency_skipped"}
	if !noWaits {
		kinds = append(kinds, "wait completed", "wait skipped")
	}
	for _, kind := range kinds {
		require.NotZero(t, seen[kind], "no flow is like this: %s", kind)
	}
	for _, e := range []Engine{reference, engine} {
		if _, declined := e.Declines[retryStep]; declined {
			return
		}
	}
	wantAgain, wantErrs := retryAll(t, wantDB, flows, want)
	gotAgain, gotErrs := retryAll(t, gotDB, flows, got)
	for i, f := range flows {
		require.Equal(t, wantErrs[i] == nil, gotErrs[i] == nil, "%v, %v\n%+v\n%+v", wantErrs[i], gotErrs[i], f, want[i])
		require.NoError(t, f.compare(engine, wantAgain[i], gotAgain[i]), "after a retry")
		require.NoError(t, f.sound(reference, wantAgain[i]), "the reference after a retry")
	}
}

func examples(seed, count int, waits bool) []randomFlow {
	flows := make([]randomFlow, count)
	for i := range flows {
		flows[i] = randomFlows[waits].Example(seed + i)
		flows[i].def.Slug = fmt.Sprintf("f%d", i)
	}
	return flows
}

// runAll runs each of the flows once.
func runAll(t *testing.T, e Engine, flows []randomFlow) []*runtime.RunInfo {
	t.Helper()
	_, runs := openAndRun(t, e, flows)
	return runs
}

// openAndRun runs each of the flows once in a new database.
func openAndRun(t *testing.T, e Engine, flows []randomFlow) (runtime.DB, []*runtime.RunInfo) {
	t.Helper()
	var services []handler.Service
	for _, f := range flows {
		services = append(services, f.service())
	}
	db, err := e.Open(t, services...)
	require.NoError(t, err)
	return db, ends(t, db, flows, func(ctx context.Context, i int) string {
		run, err := runtime.StartFlow(ctx, db, flows[i].def.Slug, json.RawMessage(flows[i].input))
		require.NoError(t, err)
		return run.ID()
	})
}

// retryAll retries runs that have failed, and a step of those that have completed. It
// returns the runs as they are then, and why some could not be retried.
func retryAll(t *testing.T, db runtime.DB, flows []randomFlow, runs []*runtime.RunInfo) ([]*runtime.RunInfo, []error) {
	t.Helper()
	errs := make([]error, len(runs))
	return ends(t, db, flows, func(ctx context.Context, i int) string {
		run := runs[i]
		if run.Status == runtime.RunFailed {
			errs[i] = runtime.RetryRun(ctx, db, run.ID)
		} else {
			steps := flows[i].def.Steps
			errs[i] = runtime.RetryStep(ctx, db, run.ID, steps[i%len(steps)].Slug)
		}
		if errs[i] != nil {
			require.ErrorIs(t, errs[i], runtime.ErrWrongStatus)
		}
		return run.ID
	}), errs
}

// ends calls do for a run of each flow, answers its waits, and returns the runs when they
// have ended.
func ends(t *testing.T, db runtime.DB, flows []randomFlow, do func(ctx context.Context, i int) (id string)) []*runtime.RunInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	ids, infos := make([]string, len(flows)), make([]*runtime.RunInfo, len(flows))
	for i, f := range flows {
		ids[i] = do(ctx, i)
		require.NoError(t, f.answer(ctx, db, ids[i]))
	}
	for i, id := range ids {
		for {
			info, err := runtime.GetRun(ctx, db, id, runtime.WithoutPayloads())
			require.NoError(t, err)
			if info.Status.Ended() {
				break
			}
			time.Sleep(poll)
		}
		var err error
		infos[i], err = runtime.GetRun(ctx, db, id, runtime.WithStates())
		require.NoError(t, err)
	}
	return infos
}

// compare returns how a run differs from what it should be. How far one that fails gets
// depends on the order of its tasks, which a worker leaves to chance; what it gets to is
// certain.
func (f randomFlow) compare(e Engine, want, got *runtime.RunInfo) error {
	failed := want.Status == runtime.RunFailed
	d := &differences{flow: f, engine: e}
	d.equal("status", want.Status, got.Status)
	d.json("input", want.Input, got.Input)
	d.json("output", want.Output, got.Output)
	d.json("result", want.Result, got.Result)
	if !failed {
		d.equal("remaining steps", want.RemainingSteps, got.RemainingSteps)
	}
	if want.Failed() == got.Failed() {
		d.error(want.FailedStep, want.Error, got.Error)
	}
	if len(want.States) != len(got.States) {
		d.equal("number of states", len(want.States), len(got.States))
		return d.err()
	}
	for i, w := range want.States {
		g := got.States[i]
		d.step = w.Step
		d.equal("step", []any{w.Step, w.Index, w.Type}, []any{g.Step, g.Index, g.Type})
		if failed && (w.Status != g.Status || w.Status != runtime.StepCompleted && w.Status != runtime.StepSkipped) {
			continue
		}
		d.equal("status", w.Status, g.Status)
		d.equal("skip reason", w.SkipReason, g.SkipReason)
		d.json("output", w.Output, g.Output)
		d.equal("started, completed, skipped",
			[]bool{w.StartedAt.IsZero(), w.CompletedAt.IsZero(), w.SkippedAt.IsZero()},
			[]bool{g.StartedAt.IsZero(), g.CompletedAt.IsZero(), g.SkippedAt.IsZero()})
		d.equal("initial tasks", orNone(w.InitialTasks), orNone(g.InitialTasks))
		d.equal("remaining tasks", orNone(w.RemainingTasks), orNone(g.RemainingTasks))
		if !failed { // a skipped step counts those before it, of which some were not reached
			d.equal("remaining deps", w.RemainingDeps, g.RemainingDeps)
		}
		if w.GaveUp() && *w.InitialTasks > 1 {
			continue // which of its tasks was the last is left to chance
		}
		d.error(w.Step, w.Error, g.Error)
	}
	return errors.Join(d.err(), f.sound(e, got))
}

// sound returns in what a run is not as the flow's handlers and options want it, whatever
// the order of its tasks was: who failed with what, and how many attempts there were.
func (f randomFlow) sound(e Engine, run *runtime.RunInfo) error {
	d := &differences{flow: f, engine: e}
	failures := 0
	for _, s := range run.States {
		d.step = s.Step
		def, does := f.def.Step(s.Step), f.does[s.Step]
		most := def.MaxAttempts
		if most == 0 {
			most = f.def.MaxAttempts
		}
		tasks := 0
		if s.InitialTasks != nil {
			tasks = *s.InitialTasks
		}
		all := 0
		for i := range tasks {
			all += does.attempts(i, most)
		}
		broke := s.Status == runtime.StepFailed || s.GaveUp()
		_, inexact := e.Declines[permanentAttempts]
		switch {
		case s.Status == runtime.StepCompleted:
			d.equal("attempts", all, s.Attempts)
			d.equal("error", "", s.Error)
		case s.Status == runtime.StepCreated, s.Status == runtime.StepSkipped && !broke, s.Error == "Condition not met":
			d.equal("attempts", 0, s.Attempts)
		case inexact:
		case broke && tasks == 1:
			d.equal("attempts", all, s.Attempts)
		case s.Attempts > all:
			d.equal("attempts, at most", all, s.Attempts)
		}
		if s.Status == runtime.StepFailed {
			failures++
		}
		if !broke || s.Error == "Condition not met" || strings.HasPrefix(s.Error, "[TYPE_VIOLATION] ") {
			continue
		}
		var possible []string
		for i := range tasks {
			n := does.attempts(i, most)
			at := fmt.Sprintf("%s %d in attempt %d of ", s.Step, i, n)
			switch {
			case def.Type == spec.TypeWait && does.end(i) == refuses:
				possible = append(possible, "refused: "+s.Step)
			case does.fails(i) >= most:
				possible = append(possible, "broke: "+at)
			case does.end(i) == givesUp:
				possible = append(possible, "never: "+at)
			case does.end(i) == skips:
				possible = append(possible, "not wanted: "+at)
			}
		}
		if !slices.ContainsFunc(possible, func(p string) bool { return strings.HasPrefix(asked(s.Step, s.Error), p) }) {
			d.equal("error begins with one", possible, s.Error)
		}
	}
	d.step = ""
	if run.Status == runtime.RunFailed {
		d.equal("failed steps", 1, failures)
		if i := run.FailedIndex; i != nil && !strings.Contains(run.Error, fmt.Sprintf("%s %d in attempt ", run.FailedStep, *i)) {
			d.equal("error of the element that failed", *i, run.Error)
		}
		d.equal("has a failed step and a time", []bool{true, true}, []bool{run.FailedStep != "", !run.FailedAt.IsZero()})
	} else {
		d.equal("failed steps", 0, failures)
		d.equal("completed", []any{runtime.RunCompleted, 0, true}, []any{run.Status, run.RemainingSteps, !run.CompletedAt.IsZero()})
	}
	return d.err()
}

// Differences are those of a run.
type differences struct {
	flow   randomFlow
	engine Engine
	step   string
	all    []string
}

func (d *differences) equal(what string, want, got any) {
	if w, g := fmt.Sprintf("%v", want), fmt.Sprintf("%v", got); w != g {
		d.all = append(d.all, strings.TrimSpace(fmt.Sprintf("%s %s: %s, should be %s", d.step, what, g, w)))
	}
}

func (d *differences) json(what string, want, got json.RawMessage) {
	if w, g := given(handler.Values{Item: want}), given(handler.Values{Item: got}); w != g {
		d.equal(what, w, g)
	}
}

func (d *differences) error(step, want, got string) {
	if _, reason := d.engine.Declines[refusedSkip]; reason {
		want, got = asked(step, want), asked(step, got)
	}
	d.equal("error", want, got)
}

// asked returns the reason of a skip that was refused, and other errors as they are.
func asked(step, message string) string {
	before, after, _ := strings.Cut(fmt.Sprintf(refusal, step, "\n"), "\n")
	if reason, ok := strings.CutPrefix(message, before); ok {
		return strings.TrimSuffix(reason, after)
	}
	return message
}

func (d *differences) err() error {
	if len(d.all) == 0 {
		return nil
	}
	return fmt.Errorf("%s\n%s\n%+v\n%+v", strings.Join(d.all, "\n"), d.flow.input, d.flow.def, d.flow.does)
}

func orNone(n *int) string {
	if n == nil {
		return "none"
	}
	return strconv.Itoa(*n)
}
