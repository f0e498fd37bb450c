// Command flowc checks declared flows and generates their packages, and operates the flows
// and runs in a database:
//
//	flowc new weather          # a small module that runs at once
//	flowc generate ./...       # what go generate calls
//	flowc migrate up           # installs the engine in the database of DATABASE_URL
//	flowc runs list --status failed
//	flowc help declare         # and other pages; flowc help lists them
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/tools/go/analysis/unitchecker"

	"github.com/flowc-dev/flowc/gen/vet"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the command with its arguments and returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if calledByGoVet(args) {
		unitchecker.Main(telling(vet.Analyzer)) // does not return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(twoDashes(args))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	status := statusOf(ctx, err)
	if status != exitOK && status != exitInterrupted && err.Error() != "" {
		fmt.Fprintln(stderr, printableLines(message(err)))
	}
	return status
}

// twoDashes rewrites -tags, which is known from the go command, to two dashes as the
// other flags have.
func twoDashes(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "-tags" || strings.HasPrefix(arg, "-tags=") {
			args[i] = "-" + arg
		}
	}
	return args
}

// message returns an error as it is printed. Cobra's errors lack the prefix.
func message(err error) string {
	text := err.Error()
	if strings.HasPrefix(text, "unknown command") {
		return "flowc: " + strings.TrimSpace(text) + "\n\tfix: `flowc help` lists the commands"
	}
	return text
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "flowc",
		Short: "Typed flows for Go and PostgreSQL",
		Long: `Flowc generates the packages of declared flows, and operates the flows and runs
of a database.

Commands that need a database use that of DATABASE_URL, or several of FLOWC_SHARDS;
"flowc dev" starts one.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return wrongUse(cmd, "%v", err) })
	root.AddGroup(
		&cobra.Group{ID: "code", Title: "Declarations:"},
		&cobra.Group{ID: "database", Title: "Databases:"},
		&cobra.Group{ID: "work", Title: "Flows and runs:"},
	)
	for id, commands := range map[string][]*cobra.Command{
		"code":     {newNew(), newGenerate(), newVet(), newGraph()},
		"database": {newDev(), newMigrate(), newShards(), newDoctor(), newPrune()},
		"work":     {newFlows(), newStart(), newRuns(), newWaits(), newGates(), newSchedules(), newWorkers(), newDashboard()},
	} {
		for _, cmd := range commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(newVersion())
	root.SetHelpCommand(newHelp())
	root.SetUsageTemplate(usageTemplate())
	return root
}

// usageTemplate returns cobra's usage template, with the topics of help where commands are listed at the top.
func usageTemplate() string {
	const hint = "{{if .HasAvailableSubCommands}}\n\nUse \"{{.CommandPath}} [command] --help\""
	template := (&cobra.Command{}).UsageTemplate()
	return strings.Replace(template, hint, "{{if not .HasParent}}\n\nTopics:"+topicList()+
		"\n\nUse \"flowc help [topic]\" to read one.{{end}}"+hint, 1)
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of flowc",
		Args:  exactly(),
	}
	asJSON := asJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		version := "(devel)"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			version = info.Main.Version
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), struct {
				Version string `json:"version"`
			}{version})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "flowc", version)
		return err
	}
	return cmd
}
