// Package dashboard shows flows and runs in a browser. It is an [http.Handler] to mount in
// any program, and what `flowc dashboard` serves.
//
//	d, err := dashboard.New(pool, dashboard.Config{Prefix: "/admin/flowc"})
//	...
//	mux.Handle("/admin/flowc/", d)
//
// Whoever reaches it sees payloads, can cancel, retry and delete runs, and answer those that
// wait. In a program that others reach, set [Config.Authorize], or wrap the handler in the
// middleware that guards the program's other pages; [Config.ReadOnly] removes the actions,
// and [Config.Redact] hides parts of payloads.
package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// Config configures a dashboard. The zero value shows and allows everything, to browsers on
// this machine.
type Config struct {
	// Prefix is the path under which browsers see the dashboard, such as
	// "/admin/flowc". Requests may come with or without it, so that the handler works
	// behind http.StripPrefix or a proxy that does the same. Defaults to the root.
	Prefix string
	// Name is shown beside the logo, to tell databases apart.
	Name string
	// ReadOnly removes all actions.
	ReadOnly bool
	// Authorize is called before anything is shown or done, with one of the
	// Action constants; an error refuses, and its text is shown. Nil allows
	// everything. It is not called for /healthz, scripts and styles.
	Authorize func(r *http.Request, action Action) error
	// User returns the name of who makes a request, which is kept and shown with the
	// answers that are sent in forms, and with flows that are paused. Nil or "" means that
	// it is not known.
	User func(r *http.Request) string
	// Hosts are the host names, without ports, under which browsers may reach the
	// dashboard. localhost and IP addresses are always allowed, so that none are needed
	// on the same machine; "*" allows all, if a proxy checks them. It protects against
	// DNS rebinding: other sites that point a name of theirs at the dashboard.
	Hosts []string
	// Redact returns what may be shown of a payload. step is the slug of the step
	// whose output it is, or empty for the input and the output of a run. It is also
	// called for errors, the reasons of cancellations and the keys with which steps wait,
	// as JSON strings, since they may repeat a payload. With it, runs cannot be searched by their input, which would
	// reveal what it hides.
	Redact func(flow, step string, payload json.RawMessage) json.RawMessage
	// Definitions are the flows as this program declares them, to compare with those in
	// the database.
	Definitions []spec.Flow
	// Help has pages in Markdown, TOPIC.md, which ? leads to: those of `flowc help` are Pages
	// of package cmd/flowc/help. Nil means that ? shows keys only.
	Help fs.FS
	// Logger receives errors and actions. Defaults to [slog.Default].
	Logger *slog.Logger
}

// An Action is what a request is about to do, for [Config.Authorize].
type Action string

// The actions.
const (
	// ActionView shows any page.
	ActionView Action = "view"
	// ActionMetrics reads /metrics.
	ActionMetrics Action = "metrics"
	// ActionCancel cancels a run.
	ActionCancel Action = "cancel"
	// ActionRetry retries a run.
	ActionRetry Action = "retry"
	// ActionRetryStep runs a step again, and every step downstream of it.
	ActionRetryStep Action = "retry_step"
	// ActionRunNow starts the delayed tasks of a run at once.
	ActionRunNow Action = "run_now"
	// ActionSetPriority changes the priority of a run.
	ActionSetPriority Action = "set_priority"
	// ActionAnswer answers a step that waits for an answer.
	ActionAnswer Action = "answer"
	// ActionFailWait ends a wait as if nobody had answered in time.
	ActionFailWait Action = "fail_wait"
	// ActionDelete deletes a run.
	ActionDelete Action = "delete"
	// ActionStart starts a run.
	ActionStart Action = "start"
	// ActionPause stops handing tasks of a flow to workers.
	ActionPause Action = "pause"
	// ActionResume hands them to workers again.
	ActionResume Action = "resume"
	// ActionSetGate changes the limits of a gate.
	ActionSetGate Action = "set_gate"
	// ActionHoldGate lets no attempt begin at a gate for a while.
	ActionHoldGate Action = "hold_gate"
	// ActionFreeGate ends that.
	ActionFreeGate Action = "free_gate"
	// ActionPauseSchedule stops the schedule of a flow from starting runs.
	ActionPauseSchedule Action = "pause_schedule"
	// ActionResumeSchedule lets it start runs again.
	ActionResumeSchedule Action = "resume_schedule"
	// ActionRunSchedule starts a run as the schedule would.
	ActionRunSchedule Action = "run_schedule"
)

// A Handler serves a dashboard. [New] returns one.
type Handler struct {
	db      runtime.DB
	config  Config
	log     *slog.Logger
	routes  *http.ServeMux
	origins *http.CrossOriginProtection
	pages   map[string]*template.Template
	help    []helpPage
	assets  *assets
	cache   cache
	streams *streams
	stats   stats
	sharded bool     // whether the database consists of several
	logged  sync.Map // when it was last logged that a shard does not answer
}

// New returns a dashboard of a database, which it does not query before the first request.
// db is used by many requests at once, so it has to be a pool or the like. Of several databases,
// see package shards, pages show what all have, and which do not answer.
func New(db runtime.DB, config Config) (*Handler, error) {
	switch db.(type) {
	case nil:
		return nil, errors.New("flowc: dashboard: db is nil")
	case *pgx.Conn, *pgxpool.Conn, pgx.Tx:
		return nil, fmt.Errorf("flowc: dashboard: a %T cannot be used by many requests at once, pass a *pgxpool.Pool", db)
	}
	if p := config.Prefix; p != "" {
		if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, `?#%\`) {
			return nil, fmt.Errorf("flowc: dashboard: Prefix is %q, it must be a plain path such as /admin/flowc", p)
		}
		config.Prefix = strings.TrimRight(p, "/")
	}
	for _, def := range config.Definitions {
		if err := def.Validate(); err != nil {
			return nil, err
		}
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	h := &Handler{
		db: db, config: config, log: config.Logger, sharded: isSharded(db),
		routes: http.NewServeMux(), origins: http.NewCrossOriginProtection(),
		assets: newAssets(), cache: cache{entries: map[string]*entry{}},
	}
	h.streams = newStreams(db, h.log)
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	h.pages = pages
	if h.help, err = readHelp(config.Help, config.Prefix); err != nil {
		return nil, err
	}
	h.route()
	return h, nil
}

// Close ends the streams of open pages, which would keep a server from shutting down: pass
// it to [http.Server.RegisterOnShutdown]. Pages can still be read.
func (h *Handler) Close() { h.streams.close() }

func (h *Handler) route() {
	h.show("GET /{$}", ActionView, h.overview)
	h.show("GET /runs", ActionView, h.listRuns)
	h.show("GET /runs/{id}", ActionView, h.showRun)
	h.show("GET /runs/{id}/steps/{step}", ActionView, h.showStep)
	h.show("GET /runs/{id}/payload", ActionView, h.payload)
	h.show("GET /runs/{id}/events", ActionView, h.events)
	h.show("GET /waiting", ActionView, h.listWaiting)
	h.show("GET /flows", ActionView, h.listFlows)
	h.show("GET /flows/{slug}", ActionView, h.showFlow)
	h.show("GET /queues", ActionView, h.listQueues)
	h.show("GET /gates", ActionView, h.listGates)
	h.show("GET /schedules", ActionView, h.listSchedules)
	h.show("GET /workers", ActionView, h.listWorkers)
	h.show("GET /help", ActionView, h.listHelp)
	h.show("GET /help/{topic}", ActionView, h.showHelp)
	h.show("GET /metrics", ActionMetrics, h.metrics)
	h.routes.HandleFunc("POST /runs", h.reporting(h.actOnMany))
	h.routes.HandleFunc("POST /runs/{id}/{action}", h.reporting(h.actOnOne))
	h.routes.HandleFunc("POST /flows/{slug}/{action}", h.reporting(h.actOnFlow))
	h.routes.HandleFunc("POST /gates/{action}", h.reporting(h.actOnGate))
	h.routes.HandleFunc("GET /healthz", h.health)
	h.routes.Handle("GET /assets/{name}", h.assets)
	h.routes.HandleFunc("/", h.reporting(func(http.ResponseWriter, *http.Request) error { return errNoPage }))
}

// show adds a route that needs permission for an action.
func (h *Handler) show(pattern string, action Action, serve func(http.ResponseWriter, *http.Request) error) {
	h.routes.HandleFunc(pattern, h.reporting(func(w http.ResponseWriter, r *http.Request) error {
		if err := h.authorize(r, action); err != nil {
			return err
		}
		return serve(w, r)
	}))
}
