package otelflow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
	"github.com/flowc-dev/flowc/runtime/otelflow"
	"github.com/flowc-dev/flowc/runtime/otelflow/otelworker"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// A process is what one has: its own provider of tracers, with what it exported.
type process struct {
	provider *sdktrace.TracerProvider
	exporter *tracetest.InMemoryExporter
	*otelflow.Telemetry
}

func newProcess(t *testing.T) *process {
	t.Helper()
	p := &process{exporter: tracetest.NewInMemoryExporter()}
	p.provider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(p.exporter))
	t.Cleanup(func() { require.NoError(t, p.provider.Shutdown(context.Background())) })
	p.Telemetry = otelflow.New(otelflow.Config{TracerProvider: p.provider})
	return p
}

func (p *process) span(t *testing.T, name string) (span tracetest.SpanStub) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, s := range p.exporter.GetSpans() {
			if s.Name == name {
				span = s
				return true
			}
		}
		return false
	}, time.Minute, 5*time.Millisecond, name)
	return span
}

func attributes(span tracetest.SpanStub) string {
	set := attribute.NewSet(span.Attributes...)
	return set.Encoded(attribute.DefaultEncoder())
}

// work runs a worker until the test ends.
func work(t *testing.T, pool runtime.DB, w *worker.Worker) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
}

// outer has two steps, each done by a worker of its own; the first fails once, and
// the second starts a run of inner.
var (
	outer = runtime.NewFlow[int](spec.Flow{Slug: "outer",
		BaseDelay: spec.Set(time.Duration(0)),
		Steps:     []spec.Step{{Slug: "one"}, {Slug: "two", Deps: []string{"one"}}},
	}, handler.Output[string]("two"))
	inner = runtime.NewFlow[int](spec.Flow{Slug: "inner",
		MaxAttempts: 1, Steps: []spec.Step{{Slug: "inner"}},
	}, handler.Output[string]("inner"))
)

// The spans of a starter and two workers, each with a provider of its own, are one
// trace.
func TestTrace(t *testing.T) {
	ctx := t.Context()
	pool := dbtest.Pool(t)
	starter, first, second := newProcess(t), newProcess(t), newProcess(t)
	runtime.SetTracer(starter)
	defer runtime.SetTracer(nil)

	handlers := []handler.Handler{
		handler.Handle("one", handler.Input[int](), func(ctx context.Context, n int) (int, error) {
			if task, _ := handler.TaskFromContext(ctx); task.Attempt == 1 {
				return 0, errors.New("not yet")
			}
			return n, nil
		}),
		handler.Handle("two", handler.Output[int]("one"), func(ctx context.Context, n int) (string, error) {
			_, err := inner.Start(ctx, pool, n)
			return baggage.FromContext(ctx).Member("tenant").Value(), err
		}),
	}
	mayPanic := handler.Serve(inner.Definition(), []handler.Handler{
		handler.Handle("inner", handler.Input[int](), func(context.Context, int) (string, error) { panic("oh") }),
	})
	for _, f := range []spec.Flow{outer.Definition(), inner.Definition()} {
		_, err := runtime.UpsertFlow(ctx, pool, f)
		require.NoError(t, err)
	}
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	metrics, err := otelworker.New(meters)
	require.NoError(t, err)
	for p, services := range map[*process][]handler.Service{
		first:  {handler.Serve(outer.Definition(), handlers, handler.Without("two"))},
		second: {handler.Serve(outer.Definition(), handlers, handler.Without("one")), mayPanic},
	} {
		w, err := worker.New(pool, worker.Config{Middleware: []handler.Middleware{p.Attempt}, Metrics: metrics}, services...)
		require.NoError(t, err)
		work(t, pool, w)
	}

	tenant, err := baggage.NewMember("tenant", "acme")
	require.NoError(t, err)
	bag, err := baggage.New(tenant)
	require.NoError(t, err)
	requested, root := starter.provider.Tracer("test").Start(baggage.ContextWithBaggage(ctx, bag), "request")
	run, err := outer.Start(requested, pool, 7)
	require.NoError(t, err)
	out, err := run.Wait(requested)
	require.NoError(t, err)
	require.Equal(t, "acme", out, "baggage travels, too")
	root.End()

	trace7 := root.SpanContext().TraceID()
	start, wait := starter.span(t, "start outer"), starter.span(t, "wait outer")
	for _, s := range []tracetest.SpanStub{start, wait} {
		require.Equal(t, root.SpanContext().SpanID(), s.Parent.SpanID())
		require.Equal(t, codes.Unset, s.Status.Code)
		require.Equal(t, "flowc.flow=outer,flowc.run_id="+run.ID(), attributes(s))
	}
	require.Equal(t, trace.SpanKindProducer, start.SpanKind)
	attempts := first.exporter.GetSpans()
	require.Len(t, attempts, 2)
	for i, s := range attempts {
		require.Equal(t, "outer.one", s.Name)
		require.Equal(t, trace.SpanKindConsumer, s.SpanKind)
		require.Equal(t, trace7, s.SpanContext.TraceID())
		require.Equal(t, start.SpanContext.SpanID(), s.Parent.SpanID())
		require.True(t, s.Parent.IsRemote())
		require.Equal(t, fmt.Sprintf("flowc.attempt=%d,flowc.flow=outer,flowc.index=0,flowc.max_attempts=3,flowc.run_id=%s,flowc.step=one", i+1, run.ID()), attributes(s))
	}
	require.Equal(t, codes.Error, attempts[0].Status.Code)
	require.Equal(t, "not yet", attempts[0].Status.Description)
	require.Equal(t, "exception", attempts[0].Events[0].Name)
	require.Equal(t, codes.Unset, attempts[1].Status.Code)

	// What a handler starts goes on in the trace, and the end of a panic is told.
	two, nested := second.span(t, "outer.two"), starter.span(t, "start inner")
	require.Equal(t, start.SpanContext.SpanID(), two.Parent.SpanID())
	require.Equal(t, two.SpanContext.SpanID(), nested.Parent.SpanID())
	panicked := second.span(t, "inner.inner")
	require.Equal(t, trace7, panicked.SpanContext.TraceID())
	require.Equal(t, nested.SpanContext.SpanID(), panicked.Parent.SpanID())
	require.Equal(t, codes.Error, panicked.Status.Code)

	// An attempt is counted after its report, so a moment later than the run may end.
	want := map[string]uint64{
		"flowc.task.wait outer.one ": 2, "flowc.task.wait outer.two ": 1, "flowc.task.wait inner.inner ": 1,
		"flowc.attempt.duration outer.one retried": 1, "flowc.attempt.duration outer.one completed": 1,
		"flowc.attempt.duration outer.two completed": 1, "flowc.attempt.duration inner.inner failed": 1,
	}
	var got map[string]uint64
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		got = counts(t, reader)
		require.Subset(c, got, want)
	}, time.Minute, 5*time.Millisecond)
	require.NotZero(t, got["flowc.database.duration claim false"])
}

// A run that nobody traced carries nothing, and each attempt has a trace of its own.
func TestUntraced(t *testing.T) {
	ctx := t.Context()
	pool := dbtest.Pool(t)
	_, err := inner.Upsert(ctx, pool)
	require.NoError(t, err)
	p := newProcess(t)
	service := handler.Serve(inner.Definition(), []handler.Handler{
		handler.Handle("inner", handler.Input[int](), func(context.Context, int) (string, error) { return "done", nil }),
	})
	w, err := worker.New(pool, worker.Config{Middleware: []handler.Middleware{p.Attempt}}, service)
	require.NoError(t, err)
	work(t, pool, w)
	_, err = inner.StartSync(ctx, pool, 1)
	require.NoError(t, err)
	require.False(t, p.span(t, "inner.inner").Parent.IsValid())
	var n int
	require.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM flowc.run_headers`).Scan(&n))
	require.Zero(t, n)

	// A start that fails says so.
	runtime.SetTracer(p)
	defer runtime.SetTracer(nil)
	_, err = runtime.StartMany(ctx, pool, "missing", []any{1, 2})
	require.ErrorIs(t, err, runtime.ErrFlowNotFound)
	failed := p.span(t, "start missing")
	require.Equal(t, codes.Error, failed.Status.Code)
	require.Equal(t, "flowc.flow=missing,flowc.runs=2", attributes(failed))
}

// counts returns how often instruments were used, by name, flow.step or call, and the
// outcome or whether there was an error.
func counts(t *testing.T, reader *metric.ManualReader) map[string]uint64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &data))
	all := map[string]uint64{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			h, ok := m.Data.(metricdata.Histogram[float64])
			if !ok {
				continue
			}
			for _, point := range h.DataPoints {
				text := func(key string) string {
					if v, ok := point.Attributes.Value(attribute.Key(key)); ok {
						return v.String()
					}
					return ""
				}
				if text("call") != "" {
					all[m.Name+" "+text("call")+" "+text("error")] = point.Count
				} else {
					all[m.Name+" "+text("flow")+"."+text("step")+" "+text("outcome")] = point.Count
				}
			}
		}
	}
	return all
}
