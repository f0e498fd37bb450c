// Command temporald runs a Temporal server with its data in memory, until it is interrupted
// or, if it is given a command, until that ends:
//
//	go run ./temporaldev/temporald
//	go run ./temporaldev/temporald go test ./...
//
// The command finds the server's address in TEMPORAL_ADDRESS, and the namespace in
// TEMPORAL_NAMESPACE. If TEMPORAL_ADDRESS is set already, the server that it names is used.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/flowc-dev/flowc/runtime/temporalflow/temporaldev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}

// errSaid means that the command failed, and has said why.
var errSaid = errors.New("the command failed")

func run(ctx context.Context, args []string) error {
	if os.Getenv("TEMPORAL_ADDRESS") != "" {
		return serve(ctx, args)
	}
	programs, err := temporaldev.Build(ctx, os.Stderr)
	if err != nil {
		return err
	}
	server, err := programs.Start(ctx, temporaldev.Config{})
	if err != nil {
		return err
	}
	os.Setenv("TEMPORAL_ADDRESS", server.Address())
	os.Setenv("TEMPORAL_NAMESPACE", temporaldev.DefaultNamespace)
	err = serve(ctx, args)
	if closing := server.Close(); closing != nil {
		return closing
	}
	return err
}

// serve runs a command, or waits until ctx ends.
func serve(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Printf("TEMPORAL_ADDRESS=%s TEMPORAL_NAMESPACE=%s\n", os.Getenv("TEMPORAL_ADDRESS"), os.Getenv("TEMPORAL_NAMESPACE"))
		<-ctx.Done()
		return nil
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if errors.As(err, new(*exec.ExitError)) {
		return errSaid
	}
	return err
}
