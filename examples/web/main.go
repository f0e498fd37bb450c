// Web is a web service that takes photos and makes thumbnails of them in the
// background. A photo and the run that processes it are stored in one
// transaction: there is never one without the other. The page shows the progress of each
// run, by server-sent events.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/flowc-dev/flowc/examples/web/album/processphoto"
	"github.com/flowc-dev/flowc/runtime/devdb"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, "127.0.0.1:8090", func(url string) { fmt.Println("open", url) }); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It calls ready with its URL.
func run(ctx context.Context, addr string, ready func(url string)) (err error) {
	// The database of DATABASE_URL, or a temporary one.
	pool, closeDB, err := devdb.Open(ctx, devdb.Config{})
	if err != nil {
		return err
	}
	defer closeDB()
	if _, err := pool.Exec(ctx, schema); err != nil {
		return err
	}
	if _, err := processphoto.UpsertProcessPhoto(ctx, pool); err != nil {
		return err
	}

	// The worker could as well be a program of its own.
	service := processphoto.Serve(handlers{pool}, handler.Limit(2, processphoto.StepPublish))
	w, err := worker.New(pool, worker.Config{Concurrency: 4}, service)
	if err != nil {
		return err
	}
	stopWorker := w.Start(ctx)
	defer func() { err = errors.Join(err, stopWorker()) }()

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           routes(pool),
		ReadHeaderTimeout: 10 * time.Second,
		// Requests end with the program: those that stream events would not otherwise.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	}()
	ready("http://" + listener.Addr().String() + "/")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// schema is the service's own.
const schema = `
CREATE TABLE IF NOT EXISTS photos (
	id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name       text NOT NULL,
	image      bytea NOT NULL,
	run_id     uuid,
	published  boolean NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS thumbnails (
	photo_id bigint REFERENCES photos (id),
	width    int,
	image    bytea NOT NULL,
	PRIMARY KEY (photo_id, width)
);
CREATE TABLE IF NOT EXISTS totals (
	day    date PRIMARY KEY,
	photos int NOT NULL,
	bytes  bigint NOT NULL
)`
