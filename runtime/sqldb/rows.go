package sqldb

import (
	"database/sql"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// A rows implements pgx.Rows on database/sql, as far as package runtime uses it: without
// column types and raw bytes.
type rows struct {
	pgx.Rows // nil: methods that later versions of pgx may add

	rows   *sql.Rows
	fields []pgconn.FieldDescription
	err    error
	read   int64
}

func newRows(r *sql.Rows) (pgx.Rows, error) {
	names, err := r.Columns()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	fields := make([]pgconn.FieldDescription, len(names))
	for i, name := range names {
		fields[i].Name = name
	}
	return &rows{rows: r, fields: fields}, nil
}

func (r *rows) Next() bool {
	if !r.rows.Next() {
		return false // database/sql has closed them
	}
	r.read++
	return true
}

func (r *rows) Close() {
	if err := r.rows.Close(); err != nil && r.err == nil {
		r.err = err
	}
}

func (r *rows) Err() error {
	if r.err != nil {
		return r.err
	}
	return r.rows.Err()
}

// Scan closes the rows if it fails, as that of pgx does.
func (r *rows) Scan(dest ...any) error {
	if len(dest) == 1 {
		if whole, ok := dest[0].(pgx.RowScanner); ok {
			return whole.ScanRow(r)
		}
	}
	targets := make([]any, len(dest))
	for i, d := range dest {
		if targets[i] = d; d == nil {
			targets[i] = new(any) // pgx leaves such a column out
		}
	}
	err := r.rows.Scan(targets...)
	if err != nil {
		r.err = err
		r.Close()
	}
	return err
}

func (r *rows) Values() ([]any, error) {
	all := make([]any, len(r.fields))
	targets := make([]any, len(r.fields))
	for i := range all {
		targets[i] = &all[i]
	}
	return all, r.Scan(targets...)
}

// RawValues returns as many values as there are columns, all empty.
func (r *rows) RawValues() [][]byte { return make([][]byte, len(r.fields)) }

func (r *rows) FieldDescriptions() []pgconn.FieldDescription { return r.fields }
func (r *rows) CommandTag() pgconn.CommandTag                { return tag(r.read) }
func (r *rows) Conn() *pgx.Conn                              { return nil }
func (r *rows) TypeMap() *pgtype.Map                         { return nil }

// tag returns a command tag of which only the number of rows is known.
func tag(n int64) pgconn.CommandTag { return pgconn.NewCommandTag(strconv.FormatInt(n, 10)) }

// A row is the first of the rows of a statement.
type row struct {
	rows pgx.Rows
	err  error
}

func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
