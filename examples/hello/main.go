// Hello is the smallest complete program: a flow of three steps, its handlers, a
// database, a worker and one run.
package main

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/flowc-dev/flowc/examples/hello/party"
	"github.com/flowc-dev/flowc/examples/hello/party/greet"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/worker"
)

// handlers runs the steps. They are plain functions over the types of package party.
type handlers struct{}

func (handlers) Guests(ctx context.Context, in party.List) ([]party.Guest, error) {
	var guests []party.Guest
	for _, name := range strings.Fields(in.Names) {
		guests = append(guests, party.Guest{Name: name})
	}
	return guests, nil
}

func (handlers) Hello(ctx context.Context, item party.Guest) (party.Greeting, error) {
	return party.Greeting{Text: "hello " + item.Name}, nil
}

func (handlers) Toast(ctx context.Context, in []party.Greeting) (party.Toast, error) {
	var toast party.Toast
	for _, g := range in {
		toast.Lines = append(toast.Lines, g.Text)
	}
	return toast, nil
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err != nil {
		return err
	}
	defer closeDB()

	if _, err := greet.UpsertGreet(ctx, pool); err != nil {
		return err
	}
	w, err := worker.New(pool, worker.Config{}, greet.Serve(handlers{}))
	if err != nil {
		return err
	}
	stop := w.Start(ctx)
	defer stop()

	run, err := greet.StartGreet(ctx, pool, party.List{Names: "earth moon sun"})
	if err != nil {
		return err
	}
	toast, err := run.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(toast.Lines, ", "))
	return nil
}
