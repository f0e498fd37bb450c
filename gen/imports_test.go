package gen

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/flowc-dev/flowc/"

// deps returns the packages that some packages are built from, themselves included.
func deps(t *testing.T, patterns ...string) []string {
	t.Helper()
	list := exec.Command("go", append([]string{"list", "-deps"}, patterns...)...)
	list.Dir = ".."
	out, err := list.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.Fields(string(out))
}

// requireNone checks that nothing begins with one of the paths.
func requireNone(t *testing.T, packages []string, paths ...string) {
	t.Helper()
	for _, p := range packages {
		for _, path := range paths {
			require.Falsef(t, p == path || strings.HasPrefix(p, path+"/"), "%s is imported", p)
		}
	}
}

// TestImportsPointOneWay holds the rules about who may import whom.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	t.Run("dsl imports nothing", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, []string{module + "dsl"}, deps(t, "./dsl"))
	})
	t.Run("the runtime knows nothing of the generator", func(t *testing.T) {
		t.Parallel()
		all := deps(t, "./runtime/...")
		requireNone(t, all, module+"gen", module+"cmd", "github.com/dave/jennifer", "golang.org/x/tools", "go/ast", "go/types")
	})
	t.Run("what starts flows does not link what works them", func(t *testing.T) {
		t.Parallel()
		all := deps(t, "./testdata/golden/shop/processorder")
		requireNone(t, all, module+"runtime/worker", module+"runtime/engine", module+"runtime/dashboard", module+"runtime/devdb", "net/http")
		for _, p := range all {
			outside := strings.Contains(strings.Split(p, "/")[0], ".") && !strings.HasPrefix(p, module)
			if outside {
				requireOneOf(t, p, "github.com/jackc/", "github.com/google/uuid", "golang.org/x/text", "golang.org/x/sync")
			}
		}
	})
	t.Run("OpenTelemetry is linked by who imports it, and tracing starts does not link the worker", func(t *testing.T) {
		t.Parallel()
		requireNone(t, deps(t, "./runtime", "./runtime/worker", "./runtime/dashboard", "./runtime/flowtest", "./runtime/sqldb", "./cmd/flowc"), "go.opentelemetry.io")
		all := deps(t, "./runtime/otelflow")
		requireNone(t, all, module+"runtime/worker", module+"runtime/engine", module+"runtime/devdb", "go.opentelemetry.io/otel/sdk")
		require.Contains(t, all, "go.opentelemetry.io/otel/trace")
	})
	t.Run("Temporal and its protocol are in modules of their own", func(t *testing.T) {
		t.Parallel()
		requireNone(t, deps(t, "-test", "./..."), "go.temporal.io", "google.golang.org/grpc")
		for _, file := range []string{"../go.mod", "../go.sum"} {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotRegexp(t, `(?i)temporal\.io|grpc`, string(raw), file)
		}
	})
	t.Run("the generator knows nothing of the database", func(t *testing.T) {
		t.Parallel()
		requireNone(t, deps(t, "./gen/..."), module+"runtime/engine", module+"runtime/worker", module+"cmd")
		requireNone(t, deps(t, "./gen", "./gen/vet"), module+"runtime/handler", module+"runtime/flowtest", "github.com/jackc", "database/sql", "net/http")
	})
}

func requireOneOf(t *testing.T, p string, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		if strings.HasPrefix(p, prefix) {
			return
		}
	}
	require.Failf(t, "an import too many", "%s is imported", p)
}
