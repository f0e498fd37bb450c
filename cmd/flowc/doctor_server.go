package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/engine"
)

func checkServer(ctx context.Context, d *doctor) ([]finding, error) {
	var version, encoding string
	var used, most int
	err := d.db.QueryRow(ctx, `
		SELECT current_setting('server_version'), (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
		       current_setting('max_connections')::int, current_setting('server_encoding')`).Scan(&version, &used, &most, &encoding)
	if err != nil {
		return nil, err
	}
	if d.status.Server < engine.MinServer*10000 {
		return []finding{{Severity: problem, What: fmt.Sprintf("this is PostgreSQL %s, and the engine needs %d or newer", version, engine.MinServer),
			Do: "upgrade the server"}}, nil
	}
	if encoding != "UTF8" {
		return []finding{{Severity: warning, What: fmt.Sprintf("the database is in %s: inputs and outputs with other characters are refused", encoding),
			Do: "create a database with ENCODING 'UTF8' TEMPLATE template0, and move to it with pg_dump"}}, nil
	}
	if used*10 > most*9 {
		return []finding{{Severity: warning, What: fmt.Sprintf("%d of %d connections are in use", used, most),
			Do: "give programs smaller pools, put a pooler before the server, or raise max_connections"}}, nil
	}
	return []finding{{Severity: fine, What: "PostgreSQL " + version}}, nil
}

// badSettings are settings with harmful values.
var badSettings = []struct {
	name, value string
	severity    severity
	why         string
}{
	{"fsync", "off", problem, "a crash of the machine can destroy the whole database"},
	{"full_page_writes", "off", problem, "a crash of the machine can destroy pages of tables"},
	{"synchronous_commit", "off", warning, "after a crash, runs and results of the last moments before it are lost"},
	{"autovacuum", "off", problem, "tables and the queue only grow, and become slow"},
	{"track_counts", "off", problem, "autovacuum does nothing, so tables and the queue only grow"},
}

func checkSettings(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `SELECT name, setting FROM pg_settings`)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { settings[name] = value; return nil }); err != nil {
		return nil, err
	}
	var found []finding
	for _, bad := range badSettings {
		if settings[bad.name] == bad.value {
			found = append(found, finding{Severity: bad.severity, What: bad.name + " is " + bad.value + ": " + bad.why,
				Do: fmt.Sprintf("ALTER SYSTEM SET %s = on; SELECT pg_reload_conf();", bad.name)})
		}
	}
	return found, nil
}

// transactionAge is how long a transaction may be open before it is reported.
const transactionAge = time.Hour

// checkTransactions looks for what keeps vacuum from removing dead rows, of which the
// queue produces many.
func checkTransactions(ctx context.Context, d *doctor) ([]finding, error) {
	return d.openTransactions(ctx, transactionAge, "a transaction has been open for %s, so that vacuum cannot remove dead rows: %s", "end it: ", `
		SELECT format('%s of %s', coalesce(nullif(application_name, ''), 'a program'), usename), xact_start,
		       format('SELECT pg_terminate_backend(%s);', pid)
		FROM pg_stat_activity
		WHERE datname = current_database() AND xact_start < clock_timestamp() - $1::interval AND backend_type = 'client backend'
		UNION ALL
		SELECT format('the prepared transaction %L', gid), prepared, format('COMMIT PREPARED or ROLLBACK PREPARED %L;', gid)
		FROM pg_prepared_xacts WHERE database = current_database() AND prepared < clock_timestamp() - $1::interval
		ORDER BY 2`)
}

// checkHandlers looks for handlers with a transaction that work for very long.
func checkHandlers(ctx context.Context, d *doctor) ([]finding, error) {
	return d.openTransactions(ctx, transactionAge, "the transaction of a handler has been open for %s, so that vacuum cannot remove dead rows: %s", "", `
		SELECT format('step %s of %s in run %s', t.step_slug, t.flow_slug, t.run_id), t.started_at,
		       'give the step a shorter timeout, or let a step before it, without the tag tx, do what takes long'
		FROM flowc.settings k
		JOIN pgflow.step_tasks t ON t.flow_slug = k.flow_slug AND t.step_slug = k.step_slug AND t.in_queue AND t.status = 'started'
		WHERE k.settings ? 'tx' AND t.started_at < clock_timestamp() - $1::interval
		ORDER BY 2`)
}

// checkWatermarks looks for what holds back the watermarks of claims: transactions that
// have created tasks which are not visible yet.
func checkWatermarks(ctx context.Context, d *doctor) ([]finding, error) {
	return d.openTransactions(ctx, d.maxTaskWait, "a transaction that created tasks has been open for %s, so that claims scan all rows that ended since: %s", "commit it, or end it: ", `
		SELECT coalesce('the prepared transaction ' || quote_literal(p.gid),
		                format('%s of %s, which is %s', coalesce(nullif(a.application_name, ''), 'a program'), a.usename, a.state)),
		       coalesce(a.xact_start, p.prepared),
		       coalesce('COMMIT PREPARED or ROLLBACK PREPARED ' || quote_literal(p.gid) || ';', format('SELECT pg_terminate_backend(%s);', a.pid))
		FROM flowc.enqueuing_transactions() o
		LEFT JOIN pg_stat_activity a ON a.pid = o.pid
		LEFT JOIN pg_prepared_xacts p ON p.transaction = o.xid::xid AND p.database = current_database()
		WHERE coalesce(a.xact_start, p.prepared) < clock_timestamp() - $1::interval
		ORDER BY 2`)
}

// openTransactions returns a finding for each transaction of a query that is older than
// that: who owns it, how long it has been open, and how to end it.
func (d *doctor) openTransactions(ctx context.Context, age time.Duration, what, do, query string) ([]finding, error) {
	rows, err := d.db.Query(ctx, query, age)
	if err != nil {
		return nil, err
	}
	var found []finding
	var who, end string
	var since time.Time
	_, err = pgx.ForEachRow(rows, []any{&who, &since, &end}, func() error {
		found = append(found, finding{Severity: warning, What: fmt.Sprintf(what, rough(time.Since(since)), who), Do: do + end})
		return nil
	})
	return found, err
}
