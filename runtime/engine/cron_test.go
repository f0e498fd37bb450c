// Cron expressions and their ticks.

package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
)

// nextTick is what the database says, the zero time for NULL.
func nextTick(d *db, spec string, after time.Time) time.Time {
	d.t.Helper()
	if tick := value[*time.Time](d, `select flowc.next_tick($1, $2)`, spec, after); tick != nil {
		return *tick
	}
	return time.Time{}
}

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse("2006-01-02 15:04:05Z07", s)
	require.NoError(t, err)
	return v
}

// TestNextTick shows what each form of an expression means.
func TestNextTick(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	const from = "2026-03-10 10:17:30Z" // a Tuesday
	for spec, want := range map[string]string{
		"* * * * *":                      "2026-03-10 10:18:00Z",
		"17 10 * * *":                    "2026-03-11 10:17:00Z",
		"18 10 * * *":                    "2026-03-10 10:18:00Z",
		"*/15 * * * *":                   "2026-03-10 10:30:00Z",
		"5/20 * * * *":                   "2026-03-10 10:25:00Z",
		"0 9-17/4 * * *":                 "2026-03-10 13:00:00Z",
		"0 0 * * *":                      "2026-03-11 00:00:00Z",
		"0 0 1 * *":                      "2026-04-01 00:00:00Z",
		"0 0 31 * *":                     "2026-03-31 00:00:00Z",
		"0 0 31 4,6,9 *":                 "", // no such day
		"0 0 29 2 *":                     "2028-02-29 00:00:00Z",
		"30 8 * * mon-fri":               "2026-03-11 08:30:00Z",
		"30 8 * * SAT":                   "2026-03-14 08:30:00Z",
		"0 12 * JAN,jul *":               "2026-07-01 12:00:00Z",
		"0 0 13 * 5":                     "2026-03-13 00:00:00Z", // either of them
		"0 0 20 * 5":                     "2026-03-13 00:00:00Z",
		"0 0 */10 * 5":                   "2026-03-11 00:00:00Z",
		"0 0 ? * 5":                      "2026-03-13 00:00:00Z",
		"  0   0\t* * * ":                "2026-03-11 00:00:00Z",
		"@hourly":                        "2026-03-10 11:00:00Z",
		"@daily":                         "2026-03-11 00:00:00Z",
		"@midnight":                      "2026-03-11 00:00:00Z",
		"@weekly":                        "2026-03-15 00:00:00Z",
		"@monthly":                       "2026-04-01 00:00:00Z",
		"@yearly":                        "2027-01-01 00:00:00Z",
		"@annually":                      "2027-01-01 00:00:00Z",
		"@every 90s":                     "2026-03-10 10:19:00Z",
		"@every 1h30m":                   "2026-03-10 11:47:30Z",
		"CRON_TZ=Asia/Tokyo 0 9 * * *":   "2026-03-11 00:00:00Z",
		"CRON_TZ=Asia/Kolkata @daily":    "2026-03-10 18:30:00Z",
		"CRON_TZ=Asia/Tokyo @every 1m5s": "2026-03-10 10:18:35Z",
	} {
		d.run(spec, func(t *testing.T, d *db) {
			got := nextTick(d, spec, at(t, from))
			if want == "" {
				require.Zero(t, got)
				return
			}
			require.Equal(t, at(t, want), got.UTC())
		})
	}
}

// TestCronMistakes holds what is said of expressions that cannot be read.
func TestCronMistakes(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	for spec, problem := range map[string]string{
		"":                           "it has 0 fields, not five: minute, hour, day, month and weekday",
		"* * * *":                    "it has 4 fields, not five: minute, hour, day, month and weekday",
		"0 * * * * *":                "it has 6 fields, not five: minute, hour, day, month and weekday",
		"@often":                     "there is no @often, only @yearly, @monthly, @weekly, @daily, @hourly and @every with a span such as 90s",
		"60 * * * *":                 "60 is not within 0 to 59",
		"* 24 * * *":                 "24 is not within 0 to 23",
		"* * 0 * *":                  "0 is not within 1 to 31",
		"* * * 13 *":                 "13 is not within 1 to 12",
		"* * * * 7":                  "7 is not within 0 to 6",
		"30-10 * * * *":              "30-10 is not within 0 to 59",
		"*/0 * * * *":                "the step of */0 is 0",
		"-1 * * * *":                 "-1 is no minute",
		"mon * * * *":                "mon is no minute",
		"* * * * monday":             "monday is no day of the week",
		"*-5 * * * *":                "*-5 is no minute",
		"1.5 * * * *":                "1.5 is no minute",
		", * * * *":                  "the minute is missing",
		"@every 1.5h":                `"1.5h" is no span of time in whole hours, minutes and seconds, like 90s or 1h30m`,
		"@every 500ms":               `"500ms" is no span of time in whole hours, minutes and seconds, like 90s or 1h30m`,
		"٣ * * * *":                  "٣ is no minute",
		"@every ٣s":                  `"٣s" is no span of time in whole hours, minutes and seconds, like 90s or 1h30m`,
		"@every 0s":                  "it has to be a second or more",
		"CRON_TZ=Mars/Crater @daily": `time zone "Mars/Crater" not recognized`,
		"CRON_TZ=UTC-5 @daily":       `time zone "UTC-5" not recognized`,
		"CRON_TZ=UTC/2 @daily":       `time zone "UTC/2" not recognized`,
		"CRON_TZ=UTC?/2 @daily":      `time zone "UTC?/2" not recognized`,
		"CRON_TZ=A/1 @daily":         `time zone "A/1" not recognized`,
		"CRON_TZ=UTC":                "it has 1 field, not five: minute, hour, day, month and weekday",
	} {
		d.run(spec, func(t *testing.T, d *db) {
			err := d.fails("22023", fmt.Sprintf(`cron "%s": %s`, spec, problem), `select flowc.next_tick($1, now())`, spec)
			require.Equal(t, problem, err.Detail)
			require.Equal(t, "schedules_cron_check", err.ConstraintName)
		})
	}
}

// TestChangesOfTheClock holds what happens where the clock is set forward or back.
func TestChangesOfTheClock(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	ticks := func(spec, from string, n int) string {
		var got []string
		tick := at(t, from)
		for range n {
			tick = nextTick(d, spec, tick)
			got = append(got, tick.UTC().Format("02 15:04"))
		}
		return strings.Join(got, ", ")
	}
	const (
		berlin   = "CRON_TZ=Europe/Berlin "      // 29 March 02:00 to 03:00 at 01:00 UTC, 25 October 03:00 to 02:00 at 01:00 UTC
		lordHowe = "CRON_TZ=Australia/Lord_Howe" // by half an hour: 5 April 02:00 to 01:30, 4 October 02:00 to 02:30
	)
	// 02:30 does not exist on the 29th: it comes as 03:30, which is one.
	require.Equal(t, "28 01:30, 29 01:30, 30 00:30", ticks(berlin+"30 2 * * *", "2026-03-27 12:00:00Z", 3))
	require.Equal(t, "29 00:30, 29 01:00, 29 01:30, 29 23:00", ticks(berlin+"0,30 1-3 * * *", "2026-03-29 00:10:00Z", 4))
	// 02:30 is there twice on the 25th, and comes the first time.
	require.Equal(t, "24 00:30, 25 00:30, 26 01:30", ticks(berlin+"30 2 * * *", "2026-10-23 12:00:00Z", 3))
	// Hours that follow the clock are left out, and come twice.
	require.Equal(t, "29 00:30, 29 01:30, 29 02:30", ticks(berlin+"30 * * * *", "2026-03-28 23:45:00Z", 3))
	require.Equal(t, "28 23:00, 29 02:00, 29 04:00", ticks(berlin+"0 */2 * * *", "2026-03-28 22:00:00Z", 3))
	require.Equal(t, "24 23:30, 25 00:30, 25 01:30, 25 02:30", ticks(berlin+"30 * * * *", "2026-10-24 23:00:00Z", 4))
	require.Equal(t, "25 00:00, 25 01:00, 25 03:00", ticks(berlin+"0 */2 * * *", "2026-10-24 23:00:00Z", 3))
	// Half an hour is enough to be twice.
	require.Equal(t, "03 14:45, 04 14:45, 05 15:15", ticks(lordHowe+" 45 1 * * *", "2026-04-03 12:00:00Z", 3))
	require.Equal(t, "03 15:45, 04 15:15", ticks(lordHowe+" 15 2 * * *", "2026-10-02 16:00:00Z", 3)[:18])
}

// TestTicksAgree compares with another implementation: everywhere where the clock
// runs on, and with hours that follow the clock also where it is set.
func TestTicksAgree(t *testing.T) {
	t.Parallel()
	d := newDB(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	batch := &pgx.Batch{}
	for range 800 {
		zone := []string{"", "CRON_TZ=UTC ", "CRON_TZ=Asia/Kolkata ", "CRON_TZ=Europe/Berlin ", "CRON_TZ=America/New_York "}[r.IntN(5)]
		hours := randomField(r, 0, 23, nil)
		sets := strings.Contains(zone, "Berlin") || strings.Contains(zone, "York")
		if sets && !strings.HasPrefix(hours, "*") {
			hours = "*"
		}
		spec := zone + strings.Join([]string{
			randomField(r, 0, 59, nil), hours, randomField(r, 1, 31, nil),
			randomField(r, 1, 12, []string{"jan", "Feb", "MAR"}), randomField(r, 0, 6, []string{"sun", "Mon", "TUE", "wed"}),
		}, " ")
		other, err := cron.ParseStandard(spec)
		require.NoError(t, err, spec)
		after := time.Date(2020+r.IntN(12), time.Month(1+r.IntN(12)), 1+r.IntN(31), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.UTC)
		if sets && r.IntN(2) == 0 { // around the changes
			after = []time.Time{
				time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 23, 0, 0, 0, time.UTC),
				time.Date(2026, 3, 8, 6, 0, 0, 0, time.UTC), time.Date(2026, 11, 1, 4, 0, 0, 0, time.UTC),
			}[r.IntN(4)].Add(time.Duration(r.IntN(4*3600)) * time.Second)
		}
		want := other.Next(after)
		batch.Queue(`select flowc.next_tick($1, $2)`, spec, after).QueryRow(func(row pgx.Row) error {
			var got *time.Time
			if err := row.Scan(&got); err != nil {
				return err
			}
			if want.IsZero() { // it looks five years ahead, the database nine
				require.True(t, got == nil || got.After(after.AddDate(4, 11, 0)), "%s after %s: %v", spec, after, got)
				return nil
			}
			require.NotNil(t, got, "%s after %s", spec, after)
			require.Equal(t, want.UTC(), got.UTC(), "%s after %s", spec, after)
			return nil
		})
	}
	require.NoError(t, d.pool.SendBatch(t.Context(), batch).Close())
}

// randomField is a field of a cron expression.
func randomField(r *rand.Rand, low, high int, names []string) string {
	number := func() int { return low + r.IntN(high-low+1) }
	var items []string
	for range 1 + r.IntN(2) {
		a, b := number(), number()
		switch r.IntN(6) {
		case 0, 1:
			return "*"
		case 2:
			return fmt.Sprintf("*/%d", 1+r.IntN(high))
		case 3:
			items = append(items, fmt.Sprintf("%d-%d/%d", min(a, b), max(a, b), 1+r.IntN(5)))
		case 4:
			items = append(items, fmt.Sprintf("%d/%d", a, 1+r.IntN(5)))
		default:
			item := fmt.Sprint(a)
			if names != nil {
				item = names[r.IntN(len(names))]
			}
			items = append(items, item)
		}
	}
	return strings.Join(items, ",")
}
