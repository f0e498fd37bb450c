package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

func newFlowsShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show SLUG",
		Short: "Show the steps and options of a flow",
		Long: `Show prints a flow as the database has it. What --json prints is the definition
that flows upsert takes.`,
		Args:              exactly("the slug of a flow"),
		ValidArgsFunction: flowSlugs,
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db *pgxpool.Pool) error {
		def, err := runtime.GetDefinition(cmd.Context(), db, args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return printDefinition(cmd.OutOrStdout(), def)
		}
		schedules, err := runtime.ListSchedules(cmd.Context(), db, def.Slug)
		if err != nil {
			return err
		}
		return showFlow(cmd.OutOrStdout(), def, schedules)
	})
	return cmd
}

func printDefinition(w io.Writer, def runtime.Definition) error {
	payload, err := def.Payload()
	if err != nil {
		return err
	}
	var doc struct {
		Steps   json.RawMessage `json:"steps"`
		Options json.RawMessage `json:"options"`
		Result  json.RawMessage `json:"result"`
		Forms   json.RawMessage `json:"forms"`
	}
	if err := json.Unmarshal(payload, &doc); err != nil {
		return err
	}
	return printJSON(w, struct {
		Slug    string          `json:"slug"`
		Options json.RawMessage `json:"options"`
		Steps   json.RawMessage `json:"steps"`
		Result  json.RawMessage `json:"result,omitempty"`
		Forms   json.RawMessage `json:"forms,omitempty"`
	}{def.Slug, doc.Options, doc.Steps, doc.Result, doc.Forms})
}

func showFlow(w io.Writer, def runtime.Definition, schedules []runtime.ScheduleInfo) error {
	fmt.Fprintf(w, "%s, unless a step says otherwise: %s, base delay %s, timeout %s\n", def.Slug,
		count(*def.MaxAttempts, "attempt", "attempts"), def.BaseDelay, def.Timeout)
	for _, s := range schedules {
		fmt.Fprintf(w, "cron %s, next: %s\n", printable(s.Cron), nextTick(s))
	}
	fmt.Fprintln(w)
	t := table{header: []string{"STEP", "TYPE", "WAITS FOR", "OPTIONS", "CONDITION"}}
	for _, s := range def.Steps {
		t.add(s.Slug, string(s.Type), strings.Join(s.Deps, ", "), strings.Join(stepOptions(s), ", "), condition(s))
	}
	return t.print(w)
}

// stepOptions are the options that a step sets itself.
func stepOptions(s runtime.StepOptions) (list []string) {
	if s.MaxAttempts != nil {
		list = append(list, "max_attempts "+strconv.Itoa(*s.MaxAttempts))
	}
	for _, o := range []struct {
		name  string
		value *time.Duration
	}{{"base_delay", s.BaseDelay}, {"timeout", s.Timeout}, {"start_delay", s.StartDelay}} {
		if o.value != nil && !(o.name == "start_delay" && *o.value == 0) {
			list = append(list, o.name+" "+o.value.String())
		}
	}
	if s.WhenExhausted != "" && s.WhenExhausted != runtime.FailRun {
		list = append(list, "when_exhausted "+string(s.WhenExhausted))
	}
	return list
}

func condition(s runtime.StepOptions) string {
	var parts []string
	if s.If != nil {
		parts = append(parts, "if "+payload(s.If, true))
	}
	if s.IfNot != nil {
		parts = append(parts, "if not "+payload(s.IfNot, true))
	}
	if len(parts) > 0 {
		unmet := s.WhenUnmet
		if unmet == "" {
			unmet = runtime.SkipStep
		}
		parts = append(parts, "else "+string(unmet))
	}
	return strings.Join(parts, ", ")
}
