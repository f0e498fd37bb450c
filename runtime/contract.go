package runtime

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/flowc-dev/flowc/runtime/internal/upstream"
)

// inContract words statements of the engine for databases that have pgflow
// without it. What is not here needs the engine.
var inContract = map[string]string{
	startSQL:   upstream.Start,
	resultSQL:  upstream.Result,
	getRunSQL:  upstream.GetRun,
	findRunSQL: upstream.FindRun,
	upsertSQL:  upstream.Upsert,
	deleteSQL:  upstream.Delete,
	existsSQL:  upstream.Exists,

	startChosenSQL:      upstream.StartChosen,
	upstream.LockChosen: upstream.LockChosen,
}

// wording is a statement as a database understands it.
func wording(kind upstream.Kind, sql string) (string, error) {
	switch kind {
	case upstream.Contract:
	case upstream.Other:
		return "", ErrOtherPgflow
	default:
		return sql, nil
	}
	worded, ok := inContract[sql]
	if !ok {
		return "", ErrNeedsEngine
	}
	return worded, nil
}

// kindOf is what the database has, as far as that is known. Usually it shows when
// the engine's statement is refused. In a transaction, which would end with that,
// the database is asked first, once for each connection.
func kindOf(ctx context.Context, db DB) upstream.Kind {
	kind := upstream.Of(db).Kind()
	if kind == upstream.Unknown && inTx(db) {
		kind = look(ctx, db)
	}
	return kind
}

// look finds out what the database has, and remembers it. A database that does
// not answer is not known any better: the call itself will tell.
func look(ctx context.Context, db DB) upstream.Kind {
	var args []any
	if unprepared(db) {
		args = append(args, pgx.QueryExecModeExec)
	}
	kind, err := upstream.Look(ctx, db, args...)
	if err != nil {
		return upstream.Unknown
	}
	upstream.Remember(db, kind)
	return kind
}
