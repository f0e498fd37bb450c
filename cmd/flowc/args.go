package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/runtime"
)

// exactly requires as many arguments as there are names, and names those that are missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return wrongUse(cmd, "it needs %s", names[len(args)])
		}
		return noMore(cmd, args[len(names):])
	}
}

// atLeastOne requires one argument or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrongUse(cmd, "it needs %s", name)
		}
		return nil
	}
}

func noMore(cmd *cobra.Command, rest []string) error {
	if len(rest) > 0 {
		return wrongUse(cmd, "%q is one argument too many", rest[0])
	}
	return nil
}

// wrongUse returns the error of a command that was used incorrectly.
func wrongUse(cmd *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%s: %s\n\tfix: %s\n\tmore: %s --help", cmd.CommandPath(), fmt.Sprintf(format, args...), cmd.UseLine(), cmd.CommandPath())
}

// newGroup returns a command that only holds others.
func newGroup(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			var names []string
			for _, c := range commands {
				names = append(names, c.Name())
			}
			return fmt.Errorf("%s: no command %q\n\tfix: use one of %s", cmd.CommandPath(), args[0], strings.Join(names, ", "))
		},
	}
	group.AddCommand(commands...)
	return group
}

// A span is a flag with a duration: a Go duration, or whole days or weeks.
type span time.Duration

func (s *span) String() string { return time.Duration(*s).String() }
func (s *span) Type() string   { return "duration" }

func (s *span) Set(text string) error {
	d, err := parseSpan(text)
	*s = span(d)
	return err
}

func parseSpan(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 || time.Duration(n) > time.Duration(1<<62)/length {
				return 0, fmt.Errorf("%q is not a duration; write it as 90s, 15m, 24h, 7d or 4w", text)
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; write it as 90s, 15m, 24h, 7d or 4w", text)
	}
	return d, nil
}

// A choice is a flag that takes some of a few words.
type choice[T ~string] struct {
	words  []T
	chosen []T
}

func (c *choice[T]) String() string {
	return strings.Join(texts(c.chosen), ",")
}
func (c *choice[T]) Type() string { return "words" }

func (c *choice[T]) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		if !slices.Contains(c.words, T(word)) {
			return fmt.Errorf("%q is not one of %s", word, strings.Join(texts(c.words), ", "))
		}
		c.chosen = append(c.chosen, T(word))
	}
	return nil
}

var priorities = []runtime.Priority{runtime.High, runtime.Normal, runtime.Low}

// A priority is a flag with a priority.
type priority runtime.Priority

func (p *priority) String() string { return string(*p) }
func (p *priority) Type() string   { return "priority" }

func (p *priority) Set(text string) error {
	if !slices.Contains(priorities, runtime.Priority(text)) {
		return fmt.Errorf("%q is not high, normal or low", text)
	}
	*p = priority(text)
	return nil
}

func texts[T ~string](words []T) []string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return list
}
