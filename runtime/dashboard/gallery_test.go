package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// TestGallery takes pictures of all pages, with data as a busy shop has them, at
// three widths, in light and in dark: for people to look at. It needs a folder:
//
//	FLOWC_GALLERY=~/gallery go test ./runtime/dashboard -run TestGallery
func TestGallery(t *testing.T) {
	dir := os.Getenv("FLOWC_GALLERY")
	if dir == "" {
		t.Skip("takes pictures for people to look at: FLOWC_GALLERY names the folder for them")
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	s := newSite(t, Config{Name: "production", Help: os.DirFS("../../cmd/flowc/help"), Definitions: []spec.Flow{
		{Slug: "order", Steps: steps([]string{"validate"})}, // which is not what the database has
		{Slug: "send_receipt", Steps: steps([]string{"send_receipt"})},
		{Slug: "invoice", Steps: steps([]string{"invoice"})},
	}})
	b := newBrowser(s)
	pictures := func(pages map[string]string) {
		for _, width := range []int64{390, 820, 1440} {
			for _, scheme := range []string{"light", "dark"} {
				b.size(width, scheme)
				for name, path := range pages {
					b.open(path)
					time.Sleep(150 * time.Millisecond) // the events of a running run
					if cut := js[string](b, clipped); cut != "" {
						t.Errorf("%s at %d is cut off: %s", path, width, cut)
					}
					picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
					require.NoError(t, err, name)
					file := fmt.Sprintf("%s-%d-%s.png", name, width, scheme)
					require.NoError(t, os.WriteFile(filepath.Join(dir, file), picture, 0o644))
				}
			}
		}
	}
	_, err := runtime.DeleteFlow(s.ctx, s.pool, shop.Slug)
	require.NoError(t, err)
	pictures(map[string]string{"empty-overview": "/", "empty-runs": "/runs", "empty-flows": "/flows", "empty-workers": "/workers",
		"empty-waiting": "/waiting", "empty-queues": "/queues", "empty-schedules": "/schedules", "error": "/nowhere"})
	b.forgetRefusals() // of the page that is not there

	g := newGallery(s)
	pictures(map[string]string{
		"overview": "/", "runs": "/runs", "runs-failed": "/runs?status=failed", "flows": "/flows", "workers": "/workers", "queues": "/queues", "waiting": "/waiting", "run-waiting": "/runs/" + g.waiting, "run-answered": "/runs/" + g.answered, "flow-waits": "/flows/claims", "gates": "/gates", "run-turn": "/runs/" + g.turn, "flow-limits": "/flows/index", "flow-sync": "/flows/sync", "flow-unique": "/flows/settle", "schedules": "/schedules",
		"flow": "/flows/order", "flow-long": "/flows/nightly_report",
		"run": "/runs/" + g.done, "run-failed": "/runs/" + g.failed, "run-running": "/runs/" + g.running,
		"run-map": "/runs/" + g.mapped, "run-long": "/runs/" + g.long, "run-cancelled": "/runs/" + g.cancelled,
		"step-map":      "/runs/" + g.mapped + "/steps/resize",
		"run-scheduled": "/runs/" + g.scheduled, "flow-paused": "/flows/send_receipt", "flow-replaced": "/flows/reindex_search",
		"flow-scheduled": "/flows/tidy", "help": "/help", "help-page": "/help/troubleshoot",
	})
	for _, width := range []int64{390, 1440} {
		b.size(width, "light")
		b.open("/runs/" + g.waiting)
		js[bool](b, `document.querySelector("[name='answer.cents']").value = "256"; document.querySelector(".answer").noValidate = true; true`)
		b.picture(dir, fmt.Sprintf("answer-%d", width))
		b.submit(`.answer button[type=submit]`)
		b.picture(dir, fmt.Sprintf("answer-refused-%d", width))
	}
	b.forgetRefusals()
	b.size(1440, "light")
	b.open("/runs/" + g.failed)
	b.keys("e")
	b.picture(dir, "run-failed-open")
	b.open("/runs")
	b.keys("jxjx")
	b.picture(dir, "runs-picked")
	b.click(`[popovertarget=many-delete].danger`)
	b.picture(dir, "runs-asked")
	b.open("/flows/order")
	b.click(`[popovertarget=start].primary`)
	b.picture(dir, "flow-start")
	b.open("/")
	b.keys("?")
	b.picture(dir, "keys")

	three := newShardedSite(t)
	three.cut()
	b = newBrowser(three.site)
	pictures(map[string]string{
		"shards-overview": "/", "shards-runs": "/runs", "shards-workers": "/workers", "shards-flow": "/flows/shop", "shards-run": "/runs/" + three.runs["a"],
	})
}

func (b *browser) picture(dir, name string) {
	b.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	require.NoError(b, err, name)
	require.NoError(b, os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644))
}

// A gallery is a database of a shop on a busy day.
type gallery struct {
	*site
	done, failed, running, mapped, long, cancelled string
	waiting, answered, scheduled, turn             string
}

// steps creates steps from slugs and their dependencies.
func steps(chain ...[]string) []spec.Step {
	var all []spec.Step
	for _, c := range chain {
		all = append(all, spec.Step{Slug: c[0], Deps: c[1:]})
	}
	return all
}

func newGallery(s *site) *gallery {
	s.Helper()
	g := &gallery{site: s}
	order := spec.Flow{Slug: "order", Steps: steps(
		[]string{"validate"}, []string{"reserve_stock", "validate"}, []string{"fraud_check", "validate"},
		[]string{"charge_card", "reserve_stock", "fraud_check"}, []string{"pick_items", "charge_card"},
		[]string{"gift_note", "validate"}, []string{"pack", "pick_items", "gift_note"}, []string{"print_label", "charge_card"},
		[]string{"hand_to_carrier", "pack", "print_label"})}
	order.Steps[3].MaxAttempts, order.Steps[3].BaseDelay = 3, spec.Set(time.Second)
	order.Steps[4].Type = spec.TypeMap
	order.Steps[4].Deps = []string{"reserve_stock"}
	order.Steps[5].If = json.RawMessage(`{"validate": {"gift": true}}`)
	order.Steps[8].Timeout = time.Hour
	order.Steps[7].StartDelay = 5 * time.Minute
	images := spec.Flow{Slug: "resize_images", Steps: []spec.Step{
		{Slug: "list"}, {Slug: "resize", Type: spec.TypeMap, Deps: []string{"list"}}, {Slug: "publish", Deps: []string{"resize"}}}}
	report := spec.Flow{Slug: "nightly_report", Cron: "CRON_TZ=Europe/Berlin 30 4 * * mon-fri"}
	for layer := range 10 {
		for n := range 5 {
			step := spec.Step{Slug: fmt.Sprintf("%s_%d", []string{"read", "clean", "join", "group", "rank", "trend", "chart", "write", "check", "send"}[layer], n+1)}
			if layer > 0 {
				prev := report.Steps[(layer-1)*5:]
				step.Deps = []string{prev[n].Slug}
				if (n+layer)%3 == 0 {
					step.Deps = append(step.Deps, prev[(n+1)%5].Slug)
				}
			}
			report.Steps = append(report.Steps, step)
		}
	}
	mail := spec.Flow{Slug: "send_receipt", Steps: steps([]string{"send_receipt"})}
	index := spec.Flow{Slug: "reindex_search", Cron: "@every 1h", Steps: steps([]string{"reindex_search"})}

	handle := func(slug string, fn func(context.Context, handler.Values) (any, error)) handler.Handler {
		return handler.HandleValues(slug, fn)
	}
	give := func(output any) func(context.Context, handler.Values) (any, error) {
		return func(ctx context.Context, v handler.Values) (any, error) {
			time.Sleep(time.Duration(1+taskOf(ctx).Index%7) * time.Millisecond)
			return output, nil
		}
	}
	services := func() []handler.Service {
		var all []handler.Service
		for _, def := range []spec.Flow{order, images, report, mail} {
			_, err := runtime.UpsertFlow(s.ctx, s.pool, def)
			require.NoError(s, err)
			var handlers []handler.Handler
			for _, step := range def.Steps {
				switch step.Slug {
				case "validate":
					handlers = append(handlers, handle(step.Slug, func(_ context.Context, v handler.Values) (any, error) {
						var in struct {
							Gift  bool     `json:"gift"`
							Items []string `json:"items"`
						}
						err := json.Unmarshal(v.Input, &in)
						return in, err
					}))
				case "reserve_stock":
					handlers = append(handlers, handle(step.Slug, give([]string{"SAMOVAR", "TEA-250", "GLASS-6"})))
				case "charge_card":
					handlers = append(handlers, handle(step.Slug, func(ctx context.Context, v handler.Values) (any, error) {
						return g.charge(ctx, v)
					}))
				case "hand_to_carrier":
					handlers = append(handlers, handle(step.Slug, func(ctx context.Context, v handler.Values) (any, error) {
						if taskOf(ctx).RunID == g.running {
							select {
							case <-ctx.Done():
							case <-time.After(20 * time.Minute):
							}
						}
						return map[string]any{"carrier": "DPD", "parcel": json.Number("90071992547409931234"), "weight_g": 1840}, nil
					}))
				case "list":
					handlers = append(handlers, handle(step.Slug, func(context.Context, handler.Values) (any, error) {
						names := make([]string, 1000)
						for i := range names {
							names[i] = fmt.Sprintf("photo-%04d.jpg", i)
						}
						return names, nil
					}))
				case "chart_3":
					handlers = append(handlers, handle(step.Slug, func(context.Context, handler.Values) (any, error) {
						time.Sleep(40 * time.Millisecond)
						return nil, errors.New("render chart 3: font Inter is not installed")
					}))
				default:
					handlers = append(handlers, handle(step.Slug, give(map[string]any{"ok": true, "step": step.Slug})))
				}
			}
			all = append(all, handler.Serve(def, handlers))
		}
		return all
	}()
	newIndex := spec.Flow{Slug: "reindex_search_v2", Steps: steps([]string{"read"}, []string{"write", "read"})}
	tidy := spec.Flow{Slug: "tidy", Cron: "@daily", Steps: steps([]string{"tidy"})}
	for _, def := range []spec.Flow{index, newIndex, tidy} {
		_, err := runtime.UpsertFlow(s.ctx, s.pool, def)
		require.NoError(s, err)
	}
	_, err := ops.PauseSchedule(s.ctx, s.pool, "tidy", "until the disk is larger")
	require.NoError(s, err)

	for _, name := range []string{"shop-7d9f6c-x2v9k", "shop-7d9f6c-m4q8z"} {
		w, err := worker.New(s.pool, worker.Config{Name: name, Logger: slog.New(slog.DiscardHandler)}, services...)
		require.NoError(s, err)
		ctx, stop := context.WithCancel(s.ctx)
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		s.Cleanup(func() {
			stop()
			<-ended
		})
	}
	start := func(slug, input string, opts ...runtime.StartOption) *runtime.Run[json.RawMessage] {
		run, err := runtime.StartFlow(s.ctx, s.pool, slug, json.RawMessage(input), opts...)
		require.NoError(s, err)
		return run
	}
	order1 := func(n int, gift bool, card string) string {
		return fmt.Sprintf(`{"order_id": %d, "customer": {"name": "Irina Orlova", "mail": "irina@example.com", "since": "2019-03-08"}, "gift": %t, "card": %q,
			"items": ["SAMOVAR", "TEA-250", "GLASS-6"], "total": 18900, "reference": 12345678901234567890, "note": null, "tags": ["first", "express"]}`, n, gift, card)
	}
	var runs, receipts []*runtime.Run[json.RawMessage]
	for i := range 160 {
		card := "4242"
		switch i % 23 {
		case 7:
			card = "0002"
		case 15:
			card = "0119"
		}
		runs = append(runs, start("order", order1(1000+i, i%3 == 0, card)))
		receipts = append(receipts, start("send_receipt", fmt.Sprintf(`{"order_id": %d}`, 1000+i)))
	}
	mapped := start("resize_images", `{"album": "summer"}`)
	long := start("nightly_report", `{"day": "2026-11-26"}`)
	for range 6 {
		start("reindex_search", `{}`)
	}
	g.mapped, g.long = mapped.ID(), long.ID()
	_, _ = mapped.Wait(s.ctx)
	_, _ = long.Wait(s.ctx)
	// What print_label waits for comes at once.
	require.Eventually(s, func() bool {
		waiting := 0
		for _, run := range runs {
			n, err := ops.RunNow(s.ctx, s.pool, run.ID(), "")
			require.NoError(s, err)
			waiting += n
			if s.status(run.ID()) == runtime.RunRunning {
				waiting++
			}
		}
		return waiting == 0
	}, 3*time.Minute, 200*time.Millisecond)
	for i, run := range append(runs, receipts...) {
		i %= len(runs)
		back := time.Duration((i*i*7)%1430+3) * time.Minute
		for _, table := range []string{
			`UPDATE pgflow.runs SET started_at = started_at - $2::interval, completed_at = completed_at - $2::interval, failed_at = failed_at - $2::interval WHERE run_id = $1::text::uuid`,
			`UPDATE pgflow.step_states SET created_at = created_at - $2::interval, started_at = started_at - $2::interval, completed_at = completed_at - $2::interval, failed_at = failed_at - $2::interval, skipped_at = skipped_at - $2::interval WHERE run_id = $1::text::uuid`,
			`UPDATE pgflow.step_tasks SET queued_at = queued_at - $2::interval, started_at = started_at - $2::interval, completed_at = completed_at - $2::interval, failed_at = failed_at - $2::interval WHERE run_id = $1::text::uuid`,
			`UPDATE flowc.failed_attempts SET started_at = started_at - $2::interval, failed_at = failed_at - $2::interval WHERE run_id = $1::text::uuid`,
		} {
			_, err := s.pool.Exec(s.ctx, table, run.ID(), back)
			require.NoError(s, err)
		}
		switch {
		case i%23 == 15:
			g.failed = runs[i].ID()
		case i == 42:
			g.done = runs[i].ID()
		}
	}
	_, err = ops.PauseFlow(s.ctx, s.pool, "send_receipt", "ann")
	require.NoError(s, err)
	g.waits()
	running := start("order", order1(2042, true, "0341"))
	g.running = running.ID()
	g.scheduled = start("order", order1(2043, false, "4242"), runtime.WithDelay(3*time.Hour)).ID()
	cancelled := start("order", order1(2044, false, "4242"))
	g.cancelled = cancelled.ID()
	time.Sleep(time.Second)
	require.NoError(s, runtime.CancelRun(s.ctx, s.pool, g.cancelled, "the customer changed her mind"))
	require.Eventually(s, func() bool {
		_, err := ops.RunNow(s.ctx, s.pool, g.running, "")
		require.NoError(s, err)
		info, err := runtime.GetRun(s.ctx, s.pool, g.running, runtime.WithStates(), runtime.WithoutPayloads())
		require.NoError(s, err)
		for _, st := range info.States {
			if st.Step == "hand_to_carrier" && st.Status == runtime.StepStarted {
				return true
			}
		}
		return false
	}, time.Minute, 100*time.Millisecond)
	return g
}

// waits starts runs that wait for answers, one of which has got one.
func (g *gallery) waits() {
	_, err := runtime.UpsertFlow(g.ctx, g.pool, claims)
	require.NoError(g, err)
	g.answered = g.claim()
	_, err = runtime.Signal(g.ctx, g.pool, g.answered, "approve", json.RawMessage(`{"approved": true, "budget": "travel"}`), runtime.WithSender("ann"))
	require.NoError(g, err)
	g.deliver()
	g.turn = g.index()
	g.gates()
	for range 3 {
		g.waiting = g.claim()
	}
}

// gates has gates in all their states: at the limit, out of tokens, changed and held.
func (g *gallery) gates() {
	sync := spec.Flow{Slug: "sync", Timeout: time.Hour, Steps: []spec.Step{
		{Slug: "pull", Concurrency: 2, Key: spec.Path{spec.RunKey, "tenant"}},
		{Slug: "tell", Gate: "slack", Rate: spec.Rate{Tokens: 1, Per: time.Hour}},
		{Slug: "bill", Gate: "bank_transfers_of_all_subsidiaries", Concurrency: 5, Rate: spec.Rate{Tokens: 300, Per: time.Minute, Burst: 20}},
		{Slug: "mail", Concurrency: 4},
	}}
	settle := spec.Flow{Slug: "settle", Unique: &spec.Unique{By: []spec.Path{{spec.RunKey, "account"}, {spec.RunKey, "region", "code"}}, Debounce: 5 * time.Second, DebounceMax: time.Minute},
		Steps: []spec.Step{{Slug: "charge", Tx: spec.TxPgx}, {Slug: "book", Deps: []string{"charge"}, Tx: spec.TxSQL}}}
	for _, def := range []spec.Flow{sync, settle} {
		_, err := runtime.UpsertFlow(g.ctx, g.pool, def)
		require.NoError(g, err)
	}
	block := func(ctx context.Context, _ handler.Values) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var handlers []handler.Handler
	for _, step := range sync.Steps {
		handlers = append(handlers, handler.HandleValues(step.Slug, block))
	}
	w, err := worker.New(g.pool, worker.Config{Name: "sync-5b8c", Concurrency: 64, Grace: time.Second, Logger: slog.New(slog.DiscardHandler)}, handler.Serve(sync, handlers))
	require.NoError(g, err)
	stop := w.Start(g.ctx)
	g.Cleanup(func() { _ = stop() })
	for _, tenant := range []string{"acme", "acme", "acme", "acme", "globex", "a tenant whose name is rather long, as they are at times"} {
		_, err := runtime.StartFlow(g.ctx, g.pool, sync.Slug, json.RawMessage(fmt.Sprintf(`{"tenant": %q}`, tenant)))
		require.NoError(g, err)
	}
	require.Eventually(g, func() bool {
		return g.site.gate("sync.pull", "acme").InFlight == 2 && g.site.gate("slack", "").InFlight == 1
	}, time.Minute, 50*time.Millisecond)
	require.NoError(g, ops.SetGate(g.ctx, g.pool, "bank_transfers_of_all_subsidiaries", ops.GateLimits{Concurrency: 3}))
	require.NoError(g, ops.HoldGate(g.ctx, g.pool, "sync.pull", spec.Set("globex"), 3*time.Hour))
	require.NoError(g, ops.HoldGate(g.ctx, g.pool, "sync.mail", nil, 3*time.Hour))
}

// charge fails as payments do.
func (g *gallery) charge(ctx context.Context, v handler.Values) (any, error) {
	var outputs struct {
		Reserve []string `json:"reserve_stock"`
	}
	_ = json.Unmarshal(v.Outputs, &outputs)
	info, err := runtime.GetRun(g.ctx, g.pool, taskOf(ctx).RunID)
	if err != nil {
		return nil, err
	}
	var in struct {
		Card string `json:"card"`
	}
	_ = json.Unmarshal(info.Input, &in)
	switch {
	case in.Card == "0002":
		return nil, handler.Permanent(errors.New("the card was declined: insufficient funds"))
	case in.Card == "0119" && taskOf(ctx).Attempt < 3:
		return nil, errors.New("POST /v1/charges: 503 Service Unavailable")
	case in.Card == "0119":
		var gateway map[string]string
		//lint:ignore SA5000 as programs do
		gateway["attempt"] = "3"
	case in.Card == "0341" && taskOf(ctx).Attempt < 2:
		return nil, errors.New("POST /v1/charges: 503 Service Unavailable")
	}
	return map[string]any{"charge": "ch_3Nq8", "amount": json.Number("18900"), "items": outputs.Reserve}, nil
}

func taskOf(ctx context.Context) handler.Task {
	task, _ := handler.TaskFromContext(ctx)
	return task
}
