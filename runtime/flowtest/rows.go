package flowtest

import (
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows are pgx.Rows of values that are there already.
type rows struct {
	pgx.Rows // nil: what later versions of pgx may ask for

	rows [][]any
	at   int // of the current row, counted from 1
	err  error
}

func (r *rows) Next() bool {
	if r.err != nil || r.at >= len(r.rows) {
		return false
	}
	r.at++
	return true
}

func (r *rows) Scan(dest ...any) error {
	if len(dest) == 1 {
		if whole, ok := dest[0].(pgx.RowScanner); ok {
			return whole.ScanRow(r)
		}
	}
	current := r.rows[r.at-1]
	if len(dest) != len(current) {
		r.err = fmt.Errorf("flowc: flowtest: a row of %d values is read as %d", len(current), len(dest))
		return r.err
	}
	for i, d := range dest {
		if err := assign(d, current[i]); err != nil {
			r.err = err
			return err
		}
	}
	return nil
}

// assign writes a value to where a pointer points, if need be as a new pointer.
func assign(dest, value any) error {
	if dest == nil {
		return nil // pgx leaves such a column out
	}
	to, from := reflect.ValueOf(dest).Elem(), reflect.ValueOf(value)
	if from.Kind() == reflect.Pointer {
		from = from.Elem()
	}
	if !from.IsValid() {
		to.SetZero()
		return nil
	}
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	if !from.CanConvert(to.Type()) {
		return fmt.Errorf("flowc: flowtest: a %s is read as a %s", from.Type(), to.Type())
	}
	to.Set(from.Convert(to.Type()))
	return nil
}

func (r *rows) Close()                        {}
func (r *rows) Err() error                    { return r.err }
func (r *rows) CommandTag() pgconn.CommandTag { return pgconn.CommandTag{} }
func (r *rows) Conn() *pgx.Conn               { return nil }
func (r *rows) TypeMap() *pgtype.Map          { return nil }

func (r *rows) FieldDescriptions() []pgconn.FieldDescription {
	if r.at == 0 {
		return nil
	}
	return make([]pgconn.FieldDescription, len(r.rows[r.at-1]))
}

// RawValues returns as many values as there are columns, all empty.
func (r *rows) RawValues() [][]byte { return make([][]byte, len(r.rows[r.at-1])) }

// row is the first of some rows.
type row struct {
	rows pgx.Rows
	err  error
}

func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		return pgx.ErrNoRows
	}
	return r.rows.Scan(dest...)
}
