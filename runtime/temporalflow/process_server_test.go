package temporalflow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
)

// A process is this test program once more, doing one thing until it is killed.
type process struct {
	// Does is what it does: "steps" or "relay".
	Does string
	// Name stands in the file's lines.
	Name string
	// Addresses are those of the servers' nodes, Namespace is theirs.
	Addresses []string
	Namespace string
	// File is where it says what it does, a line each.
	File string
	// Database is the PostgreSQL of a relay.
	Database string
}

const processVariable = "FLOWC_TEMPORAL_PROCESS"

// start starts the process, and kills it at the end of the test if nobody did.
func (p process) start(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(p)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerProcess$", "-test.timeout=30m")
	cmd.Env = append(os.Environ(), processVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

// kill is kill -9.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// TestServerProcess is what [process.start] starts, and no test.
func TestServerProcess(t *testing.T) {
	text := os.Getenv(processVariable)
	if text == "" {
		t.Skip("it is the worker that other tests kill")
	}
	var p process
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	c := p.dial(t)
	db := temporalflow.New(c, p.Namespace)
	switch p.Does {
	case "steps":
		w, err := temporalflow.NewWorker(db, temporalflow.Config{Logger: quiet}, steps(p.note))
		require.NoError(t, err)
		require.NoError(t, w.Run(context.Background()))
	case "relay":
		p.relay(t, db)
	}
}

// dial connects to all nodes, in turns.
func (p process) dial(t *testing.T) client.Client {
	t.Helper()
	nodes := manual.NewBuilderWithScheme("nodes")
	var state resolver.State
	for _, address := range p.Addresses {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	nodes.InitialState(state)
	c, err := client.Dial(client.Options{
		HostPort: "nodes:///all", Namespace: p.Namespace, Logger: temporalflow.Logger(quiet),
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{grpc.WithResolvers(nodes)}},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

var noting sync.Mutex

// note writes a line, which is there even if the process is killed at once.
func (p process) note(words ...any) {
	noting.Lock()
	defer noting.Unlock()
	f, err := os.OpenFile(p.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := fmt.Fprintln(f, append([]any{p.Name}, words...)...); err != nil {
		panic(err)
	}
	f.Close()
}

// noted returns the words of the lines in a file.
func noted(t *testing.T, file string) (lines [][]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(line, "\n") { // else it is being written
			lines = append(lines, strings.Fields(line))
		}
	}
	return lines
}

// steps returns a diamond whose steps may be attempted once, and take a while.
func steps(note func(words ...any)) handler.Service {
	flow := spec.Flow{Slug: "steps", MaxAttempts: 1, Steps: []spec.Step{
		{Slug: "a"}, {Slug: "b", Deps: []string{"a"}}, {Slug: "c", Deps: []string{"a"}}, {Slug: "d", Deps: []string{"b", "c"}},
	}}
	work := func(ctx context.Context, v handler.Values) (any, error) {
		task, _ := handler.TaskFromContext(ctx)
		note("begin", task.RunID, task.Step, task.Attempt)
		select {
		case <-time.After(150 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		note("done", task.RunID, task.Step, task.Attempt)
		return string(v.Input) + task.Step, nil
	}
	return serve(flow, map[string]function{"a": work, "b": work, "c": work, "d": work})
}
