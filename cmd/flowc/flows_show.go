package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/spec"
)

func newFlowsShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show SLUG",
		Short: "Show the steps and options of a flow",
		Long: `Show prints a flow as it is in the database. With --json, it prints the definition
in the form that flows upsert takes.`,
		Args:              exactly("the slug of a flow"),
		ValidArgsFunction: flowSlugs,
	}
	asJSON := asJSON(cmd)
	cmd.RunE = withDatabase(func(cmd *cobra.Command, args []string, db runtime.DB) error {
		def, err := ops.GetDefinition(cmd.Context(), db, args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return printDefinition(cmd.OutOrStdout(), def)
		}
		schedules, err := ops.ListSchedules(cmd.Context(), db, def.Slug)
		if !usable(err) {
			return err
		}
		return errors.Join(showFlow(cmd.OutOrStdout(), def, schedules), err)
	})
	return cmd
}

func printDefinition(w io.Writer, def spec.Flow) error {
	doc, err := def.Document()
	if err != nil {
		return err
	}
	return printJSON(w, json.RawMessage(doc))
}

func showFlow(w io.Writer, def spec.Flow, schedules []ops.ScheduleInfo) error {
	fmt.Fprintf(w, "%s, unless a step says otherwise: %s, base delay %s, timeout %s\n", def.Slug,
		count(def.MaxAttempts, "attempt", "attempts"), def.BaseDelay, def.Timeout)
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

// stepOptions returns the options that a step sets itself.
func stepOptions(s spec.Step) (list []string) {
	if s.MaxAttempts != 0 {
		list = append(list, "max_attempts "+strconv.Itoa(s.MaxAttempts))
	}
	if s.BaseDelay != nil {
		list = append(list, "base_delay "+s.BaseDelay.String())
	}
	if s.Timeout != 0 {
		list = append(list, "timeout "+s.Timeout.String())
	}
	if s.StartDelay != 0 {
		list = append(list, "start_delay "+s.StartDelay.String())
	}
	if s.WhenExhausted != "" && s.WhenExhausted != spec.ModeFail {
		list = append(list, "when_exhausted "+string(s.WhenExhausted))
	}
	return list
}

func condition(s spec.Step) string {
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
			unmet = spec.ModeSkip
		}
		parts = append(parts, "else "+string(unmet))
	}
	return strings.Join(parts, ", ")
}
