package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

func newStart() *cobra.Command {
	var (
		file, key, at  string
		delay, timeout span
		wait           bool
		withoutUnique  bool
		of             priority
	)
	cmd := &cobra.Command{
		Use:   "start SLUG [JSON]",
		Short: "Start a run of a flow or job",
		Long: `Start starts a run and prints its id. Its input is JSON: an argument, a file, or
standard input with --file -; the empty object if there is none. If there is a run with
the key, or one like it of a flow that is unique, it prints the id of that, and says on
standard error that it existed.

With --wait it waits for the run to end and prints its result: the output that its
flow declares or, if it declares none, the outputs of the last steps. Meanwhile it
shows what the run waits for. The exit status is 3 if the run failed or was
cancelled, 4 if it has not ended within --timeout.`,
		Example: `  flowc start send_receipt '{"to": "a@example.com"}' --delay 10m
  flowc start process_order --file order.json --wait`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return flowSlugs(cmd, args, prefix)
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && file != "" {
				return wrongUse(cmd, "the input is given twice, as an argument and with --file")
			}
			return exactly([]string{"the slug of a flow", "input"}[:max(1, min(len(args), 2))]...)(cmd, args)
		},
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the input from this file, or from standard input if it is -")
	cmd.Flags().StringVar(&key, "key", "", "start no second run of the flow with this key")
	cmd.Flags().BoolVar(&withoutUnique, "without-unique", false, "start a run even if the flow is unique and there is one like it")
	cmd.Flags().Var(&delay, "delay", "start the steps after this time")
	cmd.Flags().StringVar(&at, "at", "", "start the steps at this time, such as 2030-01-31T08:00:00Z")
	cmd.Flags().Var(&of, "priority", "the priority of its tasks, high, normal or low, in place of that of the flow")
	completeWords(cmd, "priority", texts(priorities))
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the run to end and print its result")
	cmd.Flags().Var(&timeout, "timeout", "wait no longer than this")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		input, err := readInput(cmd, args[1:], file)
		if err != nil {
			return err
		}
		var opts []runtime.StartOption
		if key != "" {
			opts = append(opts, runtime.WithIdempotencyKey(key))
		}
		if withoutUnique {
			opts = append(opts, runtime.WithoutUnique())
		}
		if of != "" {
			opts = append(opts, runtime.WithPriority(runtime.Priority(of)))
		}
		if delay > 0 {
			opts = append(opts, runtime.WithDelay(time.Duration(delay)))
		}
		if at != "" {
			t, err := time.Parse(time.RFC3339, at)
			if err != nil {
				return wrongUse(cmd, "--at is %q, it must be a time such as 2030-01-31T08:00:00Z", at)
			}
			opts = append(opts, runtime.WithStartAt(t))
		}
		return withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
			run, err := runtime.StartFlow(cmd.Context(), db, args[0], input, opts...)
			if err != nil {
				return err
			}
			if run.Existed() && !*asJSON {
				fmt.Fprintf(cmd.ErrOrStderr(), "run %s existed\n", run.ID())
			}
			if wait {
				return waitFor(cmd, db, run, time.Duration(timeout), *asJSON)
			}
			return printStarted(cmd.OutOrStdout(), run, *asJSON)
		})(cmd, args)
	}
	return cmd
}

// readInput returns the input as an argument, or in a file; nil if there is none.
func readInput(cmd *cobra.Command, args []string, file string) (any, error) {
	var raw []byte
	var err error
	switch {
	case len(args) > 0:
		raw = []byte(args[0])
	case file == "-":
		raw, err = io.ReadAll(cmd.InOrStdin())
	case file != "":
		raw, err = os.ReadFile(file)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("flowc: reading the input: %w", err)
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("flowc: the input is not JSON: %s\n\tfix: quote it for the shell, or put it into a file and use --file", shorten(string(raw), 80))
	}
	return json.RawMessage(raw), nil
}

// A startedRun is a run that was started, as JSON.
type startedRun struct {
	ID          string    `json:"id"`
	Flow        string    `json:"flow"`
	Existed     bool      `json:"existed"`
	ScheduledAt time.Time `json:"scheduled_at,omitzero"`
}

func printStarted(w io.Writer, run *runtime.Run[json.RawMessage], asJSON bool) error {
	if asJSON {
		return printJSON(w, startedRun{run.ID(), run.Flow(), run.Existed(), run.ScheduledAt()})
	}
	_, err := fmt.Fprintln(w, run.ID())
	return err
}

// tellReasons shows in a progress what a run waits for, until the returned function is
// called.
func tellReasons(ctx context.Context, db runtime.DB, id string, p *progress) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			reasons, err := runtime.ExplainRun(ctx, db, id)
			if err == nil && len(reasons) > 0 {
				p.set("%s", printable(reasons[0].String()))
			}
		}
	}()
	return func() { cancel(); <-done }
}

func waitFor(cmd *cobra.Command, db runtime.DB, run *runtime.Run[json.RawMessage], timeout time.Duration, asJSON bool) error {
	p := startProgress(cmd.ErrOrStderr(), "waiting for run "+run.ID())
	var opts []runtime.WaitOption
	if timeout > 0 {
		opts = append(opts, runtime.WithTimeout(timeout))
	}
	stop := tellReasons(cmd.Context(), db, run.ID(), p)
	output, err := run.Wait(cmd.Context(), opts...)
	stop()
	p.done()
	var failed *runtime.RunFailedError
	switch {
	case errors.As(err, &failed):
		err = &exitError{exitRunFailed, err}
	case errors.Is(err, runtime.ErrTimeout):
		err = &exitError{exitTimeout, err}
	case err == nil && !asJSON:
		if info, err := runtime.GetRun(cmd.Context(), db, run.ID()); err == nil && info.Result != nil && info.Output != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "outputs of the last steps:", payload(info.Output, true))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), string(escaped(output)))
		return err
	}
	if !asJSON || cmd.Context().Err() != nil {
		return err
	}
	info, infoErr := runtime.GetRun(cmd.Context(), db, run.ID())
	if infoErr != nil {
		return errors.Join(err, infoErr)
	}
	return errors.Join(err, printJSON(cmd.OutOrStdout(), info))
}
