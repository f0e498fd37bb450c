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

// DefaultRoles returns the names that `flowc migrate roles` uses.
func DefaultRoles() Roles {
	return Roles{Starter: "flowc_starter", Worker: "flowc_worker", Viewer: "flowc_viewer", Operator: "flowc_operator"}
}

// roleMost is how many bytes PostgreSQL keeps of a name.
const roleMost = 63

// each calls fn with the roles that are named, and their kinds.
func (r Roles) each(fn func(kind, name string) error) error {
	for _, one := range []struct{ kind, name string }{
		{"starter", r.Starter}, {"worker", r.Worker}, {"viewer", r.Viewer}, {"operator", r.Operator},
	} {
		if one.name == "" {
			continue
		}
		if len(one.name) > roleMost {
			return fmt.Errorf("role %s: the name has %d bytes, at most %d are possible", one.name, len(one.name), roleMost)
		}
		if err := fn(one.kind, one.name); err != nil {
			return fmt.Errorf("role %s: %w", one.name, err)
		}
	}
	return nil
}

// article returns a kind with its article.
func article(kind string) string {
	if kind == "operator" {
		return "an " + kind
	}
	return "a " + kind
}

// RevokeRoles takes from roles what [GrantRoles] gave them in this database, and returns
// what was done, a line for each. The roles stay. If a role is of another kind too, it
// keeps the rights of that one. Like GrantRoles it needs the owner of the engine.
func RevokeRoles(ctx context.Context, db DB, roles Roles) ([]string, error) {
	return changeRoles(ctx, db, roles, "revoke", `select flowc.revoke_role($1, $2)`, func(kind, name string, had bool) []string {
		if !had {
			return []string{fmt.Sprintf("%s did not have the rights of %s", name, article(kind))}
		}
		return []string{fmt.Sprintf("%s no longer has the rights of %s", name, article(kind))}
	})
}

// GrantRoles gives roles their rights in this database, and returns what was done, a
// line for each. A role that does not exist is created, without a right to log in:
// grant it to those that log in. It can be repeated. Migrations grant these roles the
// engine's functions anew and revoke everything else, so what else a program needs is
// better granted to another role. A name of more than 63 bytes is an error, since
// PostgreSQL would truncate it. It needs the owner of the engine, and CREATEROLE to
// create roles.
func GrantRoles(ctx context.Context, db DB, roles Roles) ([]string, error) {
	return changeRoles(ctx, db, roles, "grant", `select flowc.grant_role($1, $2)`, func(kind, name string, created bool) []string {
		done := fmt.Sprintf("%s has the rights of %s", name, article(kind))
		if created {
			return []string{"created the role " + name, done}
		}
		return []string{done}
	})
}

// changeRoles calls a function of the engine with each role, in one transaction, and
// returns what describe says of each.
func changeRoles(ctx context.Context, db DB, roles Roles, verb, sql string, describe func(kind, name string, changed bool) []string) ([]string, error) {
	var done []string
	err := pgx.BeginTxFunc(ctx, db, migrating, func(tx pgx.Tx) error {
		if err := lock(ctx, tx); err != nil {
			return err
		}
		done = nil
		return roles.each(func(kind, name string) error {
			var changed bool
			if err := tx.QueryRow(ctx, sql, kind, name).Scan(&changed); err != nil {
				return err
			}
			done = append(done, describe(kind, name, changed)...)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("flowc: %s roles: %w", verb, err)
	}
	return done, nil
}
