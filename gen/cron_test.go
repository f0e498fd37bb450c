package gen

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

// oddCron returns a cron expression, often one that cannot be.
func oddCron(r *rand.Rand) string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	item := func() string {
		number := func() string { return fmt.Sprint(r.IntN(14)) }
		s := pick("*", "*", "?", number(), number(), number()+"-"+number(), "jan", "MON", "sun-wed", "7", "60", "007", "+5", "1.5", "x", "*-5", "", "-", "/2", "12345", "feb-mar")
		if r.IntN(4) == 0 {
			s += pick("/", "/0", "/2", "/15", "/-1", "/x", "/2/3")
		}
		if r.IntN(5) == 0 {
			s += "," + pick(number(), "*", "", "mon")
		}
		return s
	}
	var spec string
	switch r.IntN(8) {
	case 0:
		spec = pick("@daily", "@hourly", "@weekly", "@monthly", "@yearly", "@annually", "@midnight", "@reboot", "@Daily", "@", "@every", "@ daily")
	case 1:
		spec = "@every" + pick(" ", "  ") + pick("1s", "90s", "1h30m", "1h0m0s", "30m1h", "1.5h", "500ms", "0s", "-5m", "5", "1d", "1m 30s", "1m  30s", "1000000h", "999999h", "٣s")
	default:
		fields := make([]string, 5+r.IntN(20)/18-r.IntN(20)/18)
		for i := range fields {
			fields[i] = item()
			if r.IntN(3) > 0 {
				fields[i] = "*"
			}
		}
		spec = strings.Join(fields, pick(" ", " ", "  "))
	}
	if r.IntN(4) == 0 {
		spec = pick("CRON_TZ=UTC ", "CRON_TZ=Europe/Berlin  ", "CRON_TZ=Europe/Berln ", "CRON_TZ= ", "CRON_TZ=UTC", "CRON_TZ=UTC CRON_TZ=UTC ", "CRON_TZ=UTC TZ=UTC", "TZ=UTC ", " CRON_TZ=Asia/Tokyo ", "CRON_TZ=Local ", "CRON_TZ=EST5EDT ", "CRON_TZ=UTC-5 ", "CRON_TZ=Etc/GMT+5 ") + spec
	}
	return pick("", "", " ") + spec
}

// TestCronIsTheDatabases holds that the generator takes the same cron expressions
// as the database.
func TestCronIsTheDatabases(t *testing.T) {
	t.Parallel()
	pool := database(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	taken := 0
	for range 600 {
		spec := oddCron(r)
		files := map[string]string{"shop/order.go": "package shop\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n\n" +
			"type Sweep struct {\n\tdsl.Job[dsl.None, dsl.None] `cron:" + fmt.Sprintf("%q", spec) + "`\n}\n"}
		tree, err := loadtest.Load(root, files)
		require.NoError(t, err)
		_, found := check.Packages(tree.Fset, tree.Packages)
		var next *time.Time
		err = pool.QueryRow(t.Context(), `SELECT flowc.next_tick($1, now())`, spec).Scan(&next)
		if len(found) == 0 {
			taken++
			require.NoError(t, err, "the generator takes %q", spec)
			require.NotNil(t, next, "the generator takes %q", spec)
		} else {
			require.False(t, err == nil && next != nil, "the database takes %q, but:\n%s", spec, texts(found, files))
		}
	}
	require.Greater(t, taken, 50)
}
