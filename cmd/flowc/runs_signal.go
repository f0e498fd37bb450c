package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// signalled is the result of runs signal, as JSON.
type signalled struct {
	ID     string            `json:"id"`
	Step   string            `json:"step"`
	Result runtime.Signalled `json:"result"`
}

func newRunsSignal() *cobra.Command {
	var fail, sender string
	cmd := &cobra.Command{
		Use:   "signal RUN STEP [JSON | -]",
		Short: "Answer a step that waits",
		Long: `Signal answers a step of a run that waits for an answer, or will. The answer is JSON:
an argument, or standard input if it is a dash; without one it is null, for steps whose
answer is none. It is checked against the type of the answer, as far as the flow
in the database says what that is. The first answer counts: for any other it
prints "already". With --fail, the step ends as if nobody had answered in time.`,
		Example: `  flowc waits --flow pay_claim
  flowc runs signal 0190f2c4-8f3e-7c1a-b4d2-0a1b2c3d4e5f approve '{"approved": true, "budget": "travel"}' --as ann
  flowc runs signal 0190f2c4-8f3e-7c1a-b4d2-0a1b2c3d4e5f approve --fail 'she has left'`,
		ValidArgsFunction: newestRuns,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 3 && cmd.Flags().Changed("fail") {
				return wrongUse(cmd, "there is an answer, and --fail")
			}
			return exactly([]string{"the id of a run", "the slug of a step", "the answer"}[:max(2, min(len(args), 3))]...)(cmd, args)
		},
	}
	asJSON := asJSON(cmd)
	cmd.Flags().StringVar(&fail, "fail", "", "end the wait with this reason instead")
	cmd.Flags().StringVar(&sender, "as", "", "who answers, shown with the run")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		answer, err := readAnswer(cmd, args[2:])
		if err != nil {
			return err
		}
		return withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
			id, err := wholeID(cmd.Context(), db, args[0])
			if err != nil {
				return err
			}
			done := signalled{ID: id, Step: args[1]}
			if cmd.Flags().Changed("fail") {
				done.Result, err = runtime.FailWait(cmd.Context(), db, id, args[1], fail, runtime.WithSender(sender))
			} else if err = checkAnswer(cmd, db, id, args[1], answer); err == nil {
				done.Result, err = runtime.Signal(cmd.Context(), db, id, args[1], answer, runtime.WithSender(sender))
			}
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), done)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), done.Result)
			return err
		})(cmd, args)
	}
	return cmd
}

// readAnswer returns the answer as an argument, or in standard input.
func readAnswer(cmd *cobra.Command, args []string) (json.RawMessage, error) {
	if len(args) == 0 {
		return json.RawMessage("null"), nil
	}
	raw := []byte(args[0])
	if args[0] == "-" {
		var err error
		if raw, err = io.ReadAll(cmd.InOrStdin()); err != nil {
			return nil, fmt.Errorf("flowc: reading the answer: %w", err)
		}
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("flowc: the answer is not JSON: %s\n\tfix: quote it for the shell, or pass it to standard input with -", shorten(string(raw), 80))
	}
	return raw, nil
}

// checkAnswer checks an answer against its schema, if the flow has one.
func checkAnswer(cmd *cobra.Command, db runtime.DB, id, step string, answer json.RawMessage) error {
	run, err := runtime.GetRun(cmd.Context(), db, id, runtime.WithoutPayloads())
	if err != nil {
		return err
	}
	def, err := ops.GetDefinition(cmd.Context(), db, run.Flow)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(def.Steps, func(s spec.Step) bool { return s.Slug == step })
	if i < 0 || def.Steps[i].Type != spec.TypeWait {
		var names []string
		for _, s := range def.Steps {
			if s.Type == spec.TypeWait {
				names = append(names, s.Slug)
			}
		}
		fix := "those that do are: " + strings.Join(names, ", ")
		if names == nil {
			fix = "none of its steps does"
		}
		return fmt.Errorf("flowc: flow %s has no step %s that waits for an answer; %s", run.Flow, step, fix)
	}
	schema, err := def.Steps[i].AnswerSchema()
	if err != nil || schema == nil {
		return err
	}
	if err := schema.Check(answer); err != nil {
		return fmt.Errorf("flowc: the answer to %s of flow %s: %w", step, run.Flow, err)
	}
	return nil
}
