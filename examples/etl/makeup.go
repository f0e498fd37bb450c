package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// makeUp writes a file of sales, the same for the same number of lines. About one
// line in a thousand is wrong, as they are.
func makeUp(path string, lines int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	defer func() { err = errors.Join(err, w.Flush(), f.Close()) }()
	random := rand.New(rand.NewPCG(1, 2))
	places := []struct{ country, currency string }{
		{"DE", "EUR"}, {"FR", "EUR"}, {"US", "USD"}, {"GB", "GBP"}, {"SE", "SEK"}, {"JP", "JPY"},
	}
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range lines {
		place := places[random.IntN(len(places))]
		day := first.AddDate(0, 0, random.IntN(90)).Format(time.DateOnly)
		amount := fmt.Sprintf("%.2f", 1+random.Float64()*500)
		switch i % 3000 {
		case 999:
			amount = "n/a"
		case 1999:
			day = "yesterday"
		case 2999:
			place.currency = "BTC"
		}
		if _, err := fmt.Fprintf(w, "S%06d,%s,%s,%s,%s\n", i+1, day, place.country, amount, place.currency); err != nil {
			return err
		}
	}
	return nil
}
