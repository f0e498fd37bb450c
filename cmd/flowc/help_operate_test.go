package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/dashboard"
	"github.com/flowc-dev/flowc/runtime/engine"
	"github.com/flowc-dev/flowc/runtime/flowtest"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func operateChecks(w *snippets) []blockCheck {
	query := ""
	return []blockCheck{
		{"Stopping", "yaml", isPod},
		{"Probes", "go", w.compiles("w *worker.Worker, err error")},
		{"Retention", "sh", runsHere},
		{"Roles", "sh", makesRoles},
		{"Failover", "sh", func(t *testing.T, b block) {
			address := strings.Trim(strings.TrimPrefix(strings.TrimSpace(b.text), "export DATABASE_URL="), `"`)
			config, err := pgx.ParseConfig(address)
			require.NoError(t, err)
			require.Equal(t, []string{"db1", "db2"}, []string{config.Host, config.Fallbacks[len(config.Fallbacks)-1].Host})
			require.NotNil(t, config.ValidateConnect, "which looks whether it can be written to")
			require.Equal(t, 3*time.Second, config.ConnectTimeout)
		}},
		{"Alerts", "yaml", isAlerts},
		{"Scaling by queue depth", "sql", func(t *testing.T, b block) {
			query = strings.TrimSpace(b.text)
			pool := flowtest.Database(t)
			_, err := engine.GrantRoles(t.Context(), pool, engine.DefaultRoles())
			require.NoError(t, err)
			require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+engine.DefaultRoles().Viewer)
				require.NoError(t, err)
				var n float64
				require.NoError(t, tx.QueryRow(t.Context(), query).Scan(&n))
				require.Zero(t, n)
				return nil
			}))
		}},
		{"Scaling by queue depth", "yaml", func(t *testing.T, b block) {
			var scaler struct {
				Triggers []struct {
					Type     string
					Metadata map[string]string
				}
			}
			readYAML(t, b, &scaler)
			require.Equal(t, "postgresql", scaler.Triggers[0].Type)
			require.Equal(t, query, scaler.Triggers[0].Metadata["query"])
		}},
	}
}

func readYAML(t *testing.T, b block, into any) {
	d := yaml.NewDecoder(strings.NewReader(b.text))
	d.KnownFields(true)
	require.NoError(t, d.Decode(into), "%s", b)
}

// isPod checks that a pod waits as long as a worker may take to stop, and that the probes
// are answered.
func isPod(t *testing.T, b block) {
	type probe struct {
		HTTPGet       struct{ Path, Port string } `yaml:"httpGet"`
		PeriodSeconds int                         `yaml:"periodSeconds"`
	}
	var pod struct {
		Spec struct {
			Grace      int64 `yaml:"terminationGracePeriodSeconds"`
			Containers []struct {
				Name, Image string
				Liveness    probe `yaml:"livenessProbe"`
				Readiness   probe `yaml:"readinessProbe"`
			}
		}
	}
	readYAML(t, b, &pod)
	require.Greater(t, pod.Spec.Grace, int64(worker.DefaultGrace.Seconds())+3*number(t, "runtime/worker", "cleanupTime"))
	require.Equal(t, "/health/live", pod.Spec.Containers[0].Liveness.HTTPGet.Path)
	require.Equal(t, "/health/ready", pod.Spec.Containers[0].Readiness.HTTPGet.Path)
}

// runsHere runs lines of shell with a database.
func runsHere(t *testing.T, b block) {
	out, err := command(t, []string{"DATABASE_URL=" + databaseURL(t)}, "sh", "-ec", b.text).CombinedOutput()
	require.NoError(t, err, "%s: %s", b, out)
}

// makesRoles runs flowc, and then the statement that psql is given, and becomes the role that
// it makes.
func makesRoles(t *testing.T, b block) {
	pool := flowtest.Database(t)
	lines := strings.Split(strings.TrimSpace(b.text), "\n")
	require.Len(t, lines, 2)
	flowc := command(t, []string{"DATABASE_URL=" + pool.Config().ConnString()}, "sh", "-c", lines[0])
	out, err := flowc.CombinedOutput()
	require.NoError(t, err, "%s: %s", b, out)
	statement := regexp.MustCompile(`^psql "\$DATABASE_URL" -c "(.*)"$`).FindStringSubmatch(lines[1])
	require.NotNil(t, statement, "%s", b)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }() // a role is of the whole server
	_, err = tx.Exec(t.Context(), statement[1])
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SET LOCAL ROLE shop_worker")
	require.NoError(t, err)
	var version int
	require.NoError(t, tx.QueryRow(t.Context(), "SELECT flowc.version()").Scan(&version))
	require.Equal(t, engine.Version, version)
}

// isAlerts checks that rules are of metrics that there are.
func isAlerts(t *testing.T, b block) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct{ Alert, Expr, For string }
		}
	}
	readYAML(t, b, &file)
	have := scrape(t)
	for _, rule := range file.Groups[0].Rules {
		names := regexp.MustCompile(`flowc_\w+`).FindAllString(rule.Expr, -1)
		require.NotEmpty(t, names, rule.Alert)
		for _, name := range names {
			require.Contains(t, have, name, rule.Alert)
		}
		_, err := time.ParseDuration(rule.For)
		require.NoError(t, err)
	}
}

// TestGrafanaBoard holds that the board is one that Grafana reads, whose panels do not
// overlap, and that it asks for metrics and labels that there are.
func TestGrafanaBoard(t *testing.T) {
	t.Parallel()
	type source struct{ Type, UID string }
	var board struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct {
				Name, Type string
				Query      any
			}
		}
		Panels []struct {
			ID                       int
			Type, Title, Description string
			Datasource               source
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []struct{ RefID, Expr, LegendFormat string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "runtime/dashboard/grafana.json")), &board))
	require.Equal(t, []string{"flowc", "flowc"}, []string{board.Title, board.UID})
	require.Positive(t, board.SchemaVersion)
	require.Equal(t, []string{"datasource", "flow"}, []string{board.Templating.List[0].Name, board.Templating.List[1].Name})
	have := scrape(t)
	asks := func(where, expr, legend string) {
		names := regexp.MustCompile(`flowc_\w+`).FindAllString(expr, -1)
		require.NotEmpty(t, names, where)
		labels := regexp.MustCompile(`(\w+)=~?"|by \((\w+)\)|\{\{(\w+)\}\}|, (\w+)\)$`).FindAllStringSubmatch(expr+legend, -1)
		for _, name := range names {
			require.Contains(t, have, name, where)
			for _, m := range labels {
				require.Contains(t, have[name], m[1]+m[2]+m[3]+m[4], "%s: %s", where, expr)
			}
		}
	}
	query, ok := board.Templating.List[1].Query.(map[string]any)["query"].(string)
	require.True(t, ok)
	asks("the variable flow", query, "")
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		require.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		require.Contains(t, []string{"stat", "timeseries"}, p.Type)
		require.NotEmpty(t, p.Description, p.Title)
		require.Equal(t, source{"prometheus", "${datasource}"}, p.Datasource)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[at], p.Title)
				taken[at] = p.Title
			}
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			asks(p.Title, target.Expr, target.LegendFormat)
		}
	}
}

// scrape returns the names of the metrics of dashboards of one and of several databases, with
// their labels.
func scrape(t *testing.T) map[string][]string {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), databaseURL(t))
	require.NoError(t, err)
	defer pool.Close()
	_, err = pool.Exec(t.Context(), `
		SELECT flowc.upsert_flow('tidy', '{"options": {"cron": "@daily"}, "steps": [{"slug": "tidy", "stepType": "single", "dependencies": [],
			"whenUnmet": "skip", "whenExhausted": "fail", "requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}}]}');
		SELECT flowc.upsert_flow('ask', '{"options": {}, "steps": [{"slug": "ask", "stepType": "single", "kind": "wait", "dependencies": [],
			"whenUnmet": "skip", "whenExhausted": "fail", "requiredInputPattern": {"defined": false}, "forbiddenInputPattern": {"defined": false}}]}');
		SELECT pgflow.start_flow('ask', '{}')`)
	require.NoError(t, err)
	pools := map[string]*pgxpool.Pool{"a": pool}
	require.NoError(t, shards.Init(t.Context(), pools))
	united, err := shards.Open(t.Context(), pools)
	require.NoError(t, err)
	all := map[string][]string{}
	for _, db := range []runtime.DB{pool, united} {
		d, err := dashboard.New(db, dashboard.Config{})
		require.NoError(t, err)
		r := httptest.NewRecorder()
		d.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "http://localhost/metrics", nil))
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+)`).FindAllStringSubmatch(string(text), -1) {
			all[m[1]] = nil
		}
		for _, m := range regexp.MustCompile(`(?m)^(flowc_\w+)\{(.*)\} `).FindAllStringSubmatch(string(text), -1) {
			var labels []string
			for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
				labels = append(labels, l[1])
			}
			all[m[1]] = labels
		}
	}
	return all
}

// TestOperatePageHasAllMetrics compares the table of metrics with what is scraped.
func TestOperatePageHasAllMetrics(t *testing.T) {
	t.Parallel()
	listed := map[string][]string{}
	for _, row := range tableRows(t, "operate", "Metrics") {
		var labels []string
		if row[1] != "" {
			labels = strings.Split(row[1], ", ")
		}
		for _, m := range regexp.MustCompile("`(flowc_\\w+)`").FindAllStringSubmatch(row[0], -1) {
			listed[m[1]] = labels
		}
	}
	require.Equal(t, scrape(t), listed)
	page := read(t, "cmd/flowc/help/operate.md")
	instruments := regexp.MustCompile(`m?eter\.(?:Float64Histogram|Int64Counter)\("([a-z.]+)"|histogram\("([a-z.]+)"`).
		FindAllStringSubmatch(read(t, "runtime/otelflow/otelworker/otelworker.go"), -1)
	require.Len(t, instruments, 4)
	for _, m := range instruments {
		require.True(t, slices.ContainsFunc(m[1:], func(name string) bool { return name != "" && strings.Contains(page, "`"+name+"`") }), m[0])
	}
}
