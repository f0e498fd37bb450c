package golangci

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/golangci/plugin-module-register/register"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/go/analysis"

	"github.com/flowc-dev/flowc/gen/vet"
)

// TestPlugin holds that golangci-lint finds the analyzer under the name that the comment of
// the package enables, and that the comment names this package.
func TestPlugin(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("golangci.go")
	require.NoError(t, err)
	comment, _, _ := strings.Cut(string(source), "package golangci\n")
	blocks := regexp.MustCompile(`(?m)(?:^//\t.*\n|^//\n)+`).FindAllString(comment, -1)
	require.Len(t, blocks, 3)
	read := func(block string, into any) {
		d := yaml.NewDecoder(strings.NewReader(regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(block, "")))
		d.KnownFields(true)
		require.NoError(t, d.Decode(into))
	}
	var build struct {
		Version string
		Plugins []struct{ Module, Import, Path string }
	}
	read(blocks[0], &build)
	require.Equal(t, "github.com/flowc-dev/flowc/gen/golangci", build.Plugins[0].Import)
	var config struct {
		Version string
		Linters struct {
			Enable   []string
			Settings struct {
				Custom map[string]struct{ Type string }
			}
		}
	}
	read(blocks[1], &config)
	name := config.Linters.Enable[0]
	require.Equal(t, "module", config.Linters.Settings.Custom[name].Type)

	create, err := register.GetPlugin(name)
	require.NoError(t, err)
	p, err := create(nil)
	require.NoError(t, err)
	analyzers, err := p.BuildAnalyzers()
	require.NoError(t, err)
	require.Equal(t, []*analysis.Analyzer{vet.Analyzer}, analyzers)
	require.Equal(t, register.LoadModeTypesInfo, p.GetLoadMode())
}
