package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/report/sales"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// schema has the tables of the example, in a schema of their own.
const schema = `
CREATE SCHEMA IF NOT EXISTS report_example;
CREATE TABLE IF NOT EXISTS report_example.orders (
  id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ordered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  customer   text        NOT NULL,
  product    text        NOT NULL,
  cents      bigint      NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_time_idx ON report_example.orders (ordered_at);
CREATE TABLE IF NOT EXISTS report_example.reports (
  until_at timestamptz NOT NULL PRIMARY KEY,
  from_at  timestamptz NOT NULL,
  orders   int,
  cents    bigint
);`

// handlers runs the steps of the report.
type handlers struct {
	db    *pgxpool.Pool
	filed chan<- sales.Summary // gets each report
}

// Window reserves the window with a row, so that another attempt in the same run finds
// the same one.
func (h handlers) Window(ctx context.Context) (w sales.Window, err error) {
	until := handler.Tick(ctx)
	if until.IsZero() {
		until = time.Now() // somebody started it by hand
	}
	_, err = h.db.Exec(ctx, `
		INSERT INTO report_example.reports (until_at, from_at)
		SELECT $1, coalesce(max(until_at), '-infinity') FROM report_example.reports WHERE until_at < $1
		ON CONFLICT DO NOTHING`, until)
	if err != nil {
		return w, err
	}
	// JSON has no time before the year 0.
	err = h.db.QueryRow(ctx, `
		SELECT greatest(from_at, '0001-01-01Z'), until_at FROM report_example.reports WHERE until_at = $1`, until).Scan(&w.From, &w.Until)
	return w, err
}

func (h handlers) Products(ctx context.Context, in sales.Window) ([]sales.Product, error) {
	rows, err := h.db.Query(ctx, `
		SELECT product, count(*), sum(cents)::bigint FROM report_example.orders
		WHERE ordered_at > $1 AND ordered_at <= $2 GROUP BY product ORDER BY 3 DESC, 1`, in.From, in.Until)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[sales.Product])
}

func (h handlers) Customers(ctx context.Context, in sales.Window) ([]sales.Customer, error) {
	rows, err := h.db.Query(ctx, `
		SELECT customer, sum(cents)::bigint FROM report_example.orders
		WHERE ordered_at > $1 AND ordered_at <= $2 GROUP BY customer ORDER BY 2 DESC, 1 LIMIT 3`, in.From, in.Until)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[sales.Customer])
}

func (h handlers) File(ctx context.Context, in sales.Findings) (sales.Summary, error) {
	s := sales.Summary{Until: in.Window.Until, BestProduct: "nothing", BestCustomer: "nobody"}
	for _, p := range in.Products {
		s.Orders, s.Cents = s.Orders+p.Sold, s.Cents+p.Cents
	}
	if len(in.Products) > 0 {
		s.BestProduct = in.Products[0].Name
	}
	if len(in.Customers) > 0 {
		s.BestCustomer = in.Customers[0].Name
	}
	_, err := h.db.Exec(ctx, `UPDATE report_example.reports SET orders = $2, cents = $3 WHERE until_at = $1`, s.Until, s.Orders, s.Cents)
	if err != nil {
		return s, err
	}
	select {
	case h.filed <- s:
	default: // nobody reads any more
	}
	return s, nil
}
