package engine

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Roles names roles of the database for programs that do not own the engine. They
// may call the functions that their work takes, and need no rights on tables. An
// empty name leaves a kind out; one role may be of several kinds.
type Roles struct {
	// Starter starts, waits for, reads, reschedules and cancels runs whose ids it
	// knows: what a program does that links a flow's generated package.
	Starter string
	// Worker claims and reports tasks, through the engine's functions or the
	// contract's. It may also write pgflow.workers, as workers in other languages do.
	Worker string
	// Viewer reads everything: lists, runs, their inputs and outputs. It is what a
	// read-only dashboard takes.
	Viewer string
	// Operator is a viewer that starts, cancels, retries, prunes and deletes runs and
	// pauses flows, as the dashboard and the command do. Definitions are the owner's.
	Operator string
}

// DefaultRoles are the names that `flowc migrate roles` uses.
var DefaultRoles = Roles{Starter: "flowc_starter", Worker: "flowc_worker", Viewer: "flowc_viewer", Operator: "flowc_operator"}

// GrantRoles gives roles their rights in this database, and says what was done, a
// line for each. A role that does not exist is made, without a right to log in:
// grant it to those that log in. It can be repeated; migrations keep the rights
// up to date. It takes the owner of the engine, and to make roles CREATEROLE.
func GrantRoles(ctx context.Context, db DB, roles Roles) ([]string, error) {
	var done []string
	err := pgx.BeginTxFunc(ctx, db, migrating, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, migrationLock); err != nil {
			return err
		}
		done = nil
		for _, r := range []struct{ kind, name string }{
			{"starter", roles.Starter}, {"worker", roles.Worker}, {"viewer", roles.Viewer}, {"operator", roles.Operator},
		} {
			if r.name == "" {
				continue
			}
			var made bool
			if err := tx.QueryRow(ctx, `select flowc.grant_role($1, $2)`, r.kind, r.name).Scan(&made); err != nil {
				return fmt.Errorf("role %s: %w", r.name, err)
			}
			if made {
				done = append(done, "made the role "+r.name)
			}
			done = append(done, fmt.Sprintf("%s has the rights of a %s", r.name, r.kind))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("flowc: grant roles: %w", err)
	}
	return done, nil
}
