package dashboard

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	s.start(`{}`)
	s.complete()
	s.start(`{}`)
	s.tidy()
	got := s.do(s.request(http.MethodGet, "/metrics", nil))
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", got.header.Get("Content-Type"))
	help := regexp.MustCompile(`^# HELP ([a-z_0-9]+) .+$`)
	sample := regexp.MustCompile(`^([a-z_0-9]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+$`)
	families, family := map[string]bool{}, ""
	for line := range strings.Lines(strings.TrimSuffix(got.body, "\n")) {
		line = strings.TrimSuffix(line, "\n")
		if m := help.FindStringSubmatch(line); m != nil {
			require.False(t, families[m[1]], "%s comes once", m[1])
			family = m[1]
			families[family] = true
			continue
		}
		if strings.HasPrefix(line, "# TYPE "+family+" ") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		require.NotNil(t, m, line)
		require.Equal(t, family, m[1], "samples stand behind what they are of")
	}
	require.GreaterOrEqual(t, len(families), 20)
	for _, want := range []string{
		"flowc_up 1", `flowc_runs{flow="shop",status="completed"} 1`, `flowc_runs{flow="shop",status="running"} 1`,
		`flowc_tasks_waiting{flow="shop"} 1`, `flowc_workers{status="working"} 1`, "flowc_flows 2",
		`flowc_schedule_overdue_seconds{flow="tidy"} 0`, `flowc_schedule_state{flow="tidy",state="armed"} 1`,
	} {
		require.Contains(t, got.body, want+"\n")
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	t.Parallel()
	m := &exposition{}
	m.sample("x", 1.5, "a", "one\"two\\three\nfour", "b", "")
	require.Equal(t, "x{a=\"one\\\"two\\\\three\\nfour\",b=\"\"} 1.5\n", m.String())
}
