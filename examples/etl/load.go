package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/etl/sales"
	"github.com/flowc-dev/flowc/examples/etl/sales/importsales"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// euros is what one unit of a currency is worth.
var euros = map[string]float64{"EUR": 1, "USD": 0.91, "GBP": 1.17, "SEK": 0.088, "JPY": 0.0061}

// loader runs the steps of an import.
type loader struct{ db *pgxpool.Pool }

var _ importsales.Handlers = (*loader)(nil)

func (l *loader) Extract(ctx context.Context, in sales.File) ([]sales.Line, error) {
	f, err := os.Open(in.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, handler.Permanent(err)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	reader := csv.NewReader(f)
	reader.FieldsPerRecord = -1 // a line that is too short is Load's affair
	records, err := reader.ReadAll()
	if err != nil {
		return nil, handler.Permanent(err)
	}
	var lines []sales.Line
	for i, fields := range records {
		lines = append(lines, sales.Line{Number: i + 1, Fields: fields})
	}
	return lines, nil
}

// Load stores a line. An invalid line is a result like any other: it would be as invalid the
// next time, and must not block the others. An error is something temporary, such as a
// database that is unreachable.
func (l *loader) Load(ctx context.Context, item sales.Line) (sales.Loaded, error) {
	sale, err := parse(item.Fields)
	if err != nil {
		return sales.Loaded{Line: item.Number, Wrong: err.Error()}, nil
	}
	// A line may be loaded twice, if a worker dies before it has reported.
	_, err = l.db.Exec(ctx, `
		INSERT INTO sales (id, day, country, cents) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE SET day = excluded.day, country = excluded.country, cents = excluded.cents`,
		sale.id, sale.day, sale.country, sale.cents)
	return sales.Loaded{Line: item.Number, Country: sale.country, Cents: sale.cents}, err
}

func (l *loader) Summarise(ctx context.Context, in []sales.Loaded) (sales.Summary, error) {
	s := sales.Summary{Lines: len(in), ByCountry: map[string]int64{}}
	for _, line := range in {
		if line.Wrong != "" {
			s.Wrong = append(s.Wrong, line)
			continue
		}
		s.Loaded++
		s.Cents += line.Cents
		s.ByCountry[line.Country] += line.Cents
	}
	return s, nil
}

type sale struct {
	id      string
	day     time.Time
	country string
	cents   int64
}

func parse(fields []string) (s sale, err error) {
	if len(fields) != 5 {
		return s, fmt.Errorf("it has %d fields instead of 5", len(fields))
	}
	s.id, s.country = fields[0], strings.ToUpper(strings.TrimSpace(fields[2]))
	if s.day, err = time.Parse(time.DateOnly, fields[1]); err != nil {
		return s, fmt.Errorf("%q is not a day", fields[1])
	}
	amount, err := strconv.ParseFloat(fields[3], 64)
	if err != nil {
		return s, fmt.Errorf("%q is not an amount", fields[3])
	}
	rate, known := euros[fields[4]]
	if !known {
		return s, fmt.Errorf("%q is not a known currency", fields[4])
	}
	s.cents = int64(math.Round(amount * rate * 100))
	return s, nil
}
