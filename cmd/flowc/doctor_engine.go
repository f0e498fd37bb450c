package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/engine"
)

func checkEngine(_ context.Context, d *doctor) ([]finding, error) {
	state := engineState(d.status)
	switch {
	case d.status.Current():
		return []finding{{Severity: fine, What: state}}, nil
	case d.status.Upstream:
		return []finding{{Severity: warning, What: "another pgflow is installed, of which only the common part can be used", Do: "use another database for what needs more"}}, nil
	case d.status.Pgmq:
		return []finding{{Severity: problem, What: "the extension pgmq is installed, whose schema conflicts with the engine's", Do: "use another database, or DROP EXTENSION pgmq if nothing uses it"}}, nil
	case d.status.Installed > engine.Version:
		return []finding{{Severity: problem, What: state, Do: "upgrade this program and those that use the database"}}, nil
	}
	return []finding{{Severity: problem, What: state, Do: "flowc migrate up"}}, nil
}

var (
	createIndex = regexp.MustCompile(`(?m)^create (?:unique )?index (\w+) on (\w+)\.\w+[^;]*;`)
	createTable = regexp.MustCompile(`(?ms)^create (?:unlogged )?table (\w+\.\w+) \(\n.*?^\)`)
)

// checkIndexes compares the indexes with those that the engine's SQL makes.
func checkIndexes(ctx context.Context, d *doctor) ([]finding, error) {
	if d.status.Installed != engine.Version {
		return nil, nil // they may be others
	}
	script := engine.Script()
	var indexes, tables, statements []string
	for _, m := range createIndex.FindAllStringSubmatch(script, -1) {
		indexes = append(indexes, m[2]+"."+m[1])
		statements = append(statements, strings.Join(strings.Fields(m[0]), " "))
	}
	for _, m := range createTable.FindAllStringSubmatch(script, -1) {
		if strings.Contains(m[0], "primary key") {
			tables = append(tables, m[1])
		}
	}
	rows, err := d.db.Query(ctx, `
		SELECT n.name, coalesce(i.indisvalid AND i.indisready, false), i.indexrelid IS NOT NULL, n.statement
		FROM unnest($1::text[], $2::text[]) n(name, statement)
		LEFT JOIN pg_index i ON i.indexrelid = to_regclass(n.name)
		UNION ALL
		SELECT n.name || ' (primary key)', coalesce(i.indisvalid AND i.indisready, false), i.indexrelid IS NOT NULL, ''
		FROM unnest($3::text[]) n(name)
		LEFT JOIN pg_index i ON i.indrelid = to_regclass(n.name) AND i.indisprimary`, indexes, statements, tables)
	if err != nil {
		return nil, err
	}
	var found []finding
	var name, statement string
	var valid, exists bool
	_, err = pgx.ForEachRow(rows, []any{&name, &valid, &exists, &statement}, func() error {
		switch {
		case valid:
		case exists:
			found = append(found, finding{Severity: problem, What: "the index " + name + " is not valid, so it is not used", Do: "REINDEX INDEX CONCURRENTLY " + name + ";"})
		case statement == "":
			found = append(found, finding{Severity: problem, What: "the index " + name + " is missing, so whole tables are read instead",
				Do: "create it again as `flowc migrate print` shows it"})
		default:
			found = append(found, finding{Severity: problem, What: "the index " + name + " is missing, so whole tables are read instead", Do: statement})
		}
		return nil
	})
	return found, err
}

// manyDead is how many dead rows a table may have.
const manyDead = 100_000

func checkVacuum(ctx context.Context, d *doctor) ([]finding, error) {
	rows, err := d.db.Query(ctx, `
		SELECT s.schemaname || '.' || s.relname, s.n_live_tup, s.n_dead_tup,
		       coalesce((SELECT bool_or(o.option_name = 'autovacuum_enabled' AND o.option_value IN ('false', 'off', 'no', '0'))
		                 FROM pg_options_to_table(c.reloptions) o), false)
		FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
		WHERE s.schemaname IN ('pgflow', 'flowc') ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	var found []finding
	var table string
	var live, dead int64
	var off bool
	_, err = pgx.ForEachRow(rows, []any{&table, &live, &dead, &off}, func() error {
		if off {
			found = append(found, finding{Severity: problem, What: "autovacuum is off for " + table + ", which only grows", Do: "ALTER TABLE " + table + " RESET (autovacuum_enabled);"})
		}
		if dead > manyDead && dead > 2*live {
			found = append(found, finding{Severity: warning, What: fmt.Sprintf("%s has %d dead rows beside %d", table, dead, live),
				Do: "VACUUM (ANALYZE) " + table + "; and if that does not help, look for open transactions and replication slots that hold rows back"})
		}
		return nil
	})
	return found, err
}
