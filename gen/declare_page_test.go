package gen

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// TestDeclarePageHasAllTags holds that the table of flowc help declare has every tag, with
// the places where it may stand and its default.
func TestDeclarePageHasAllTags(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../cmd/flowc/help/declare.md")
	require.NoError(t, err)
	listed, defaults := map[string][]string{}, map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+):\"[^`]*\"` \\| ([a-z, ]+) \\| ([^|]+) \\| ").FindAllStringSubmatch(string(page), -1) {
		for _, place := range strings.Split(m[2], ", ") {
			listed[place] = append(listed[place], m[1])
		}
		defaults[m[1]] = m[3]
	}
	// What is said of an unknown tag lists those that are known there.
	for place, source := range map[string]string{
		"flow": "type F struct {\n\tdsl.Flow[int, dsl.None] `zzzzzz:\"1\"`\n\n\tA dsl.Step[int, dsl.None]\n}\n",
		"job":  "type F struct {\n\tdsl.Job[int, dsl.None] `zzzzzz:\"1\"`\n}\n",
		"step": "type F struct {\n\tdsl.Flow[int, dsl.None]\n\n\tA dsl.Step[int, dsl.None] `zzzzzz:\"1\"`\n}\n",
		"wait": "type F struct {\n\tdsl.Flow[int, int]\n\n\tA dsl.Wait[int, int] `zzzzzz:\"1\"`\n}\n",
		"map":  "type F struct {\n\tdsl.Flow[[]int, dsl.None]\n\n\tA dsl.Map[int, dsl.None] `zzzzzz:\"1\"`\n}\n",
	} {
		tree, err := loadtest.Load(root, map[string]string{"shop/shop.go": "package shop\n\nimport \"github.com/flowc-dev/flowc/dsl\"\n\n" + source})
		require.NoError(t, err)
		_, mistakes := check.Packages(tree.Fset, tree.Packages)
		known := regexp.MustCompile(`use one of ([a-z_, ]+)`).FindStringSubmatch(texts(mistakes, nil))
		require.NotNil(t, known, "%s: %s", place, texts(mistakes, nil))
		want := strings.Split(known[1], ", ")
		slices.Sort(want)
		slices.Sort(listed[place])
		require.Equal(t, want, listed[place], place)
	}
	require.Equal(t, fmt.Sprint(spec.DefaultMaxAttempts), defaults["max_attempts"])
	require.Equal(t, spec.DefaultBaseDelay.String(), defaults["base_delay"])
	require.Equal(t, fmt.Sprintf("%.0fs", spec.DefaultTimeout.Seconds()), defaults["timeout"])
	require.Equal(t, fmt.Sprintf("%.0fh", spec.DefaultMaxWait.Hours()), defaults["max_wait"])
	require.Equal(t, fmt.Sprintf("%.0fh", spec.DefaultKeep.Hours()), defaults["keep"])
	require.Equal(t, string(spec.PriorityNormal), defaults["priority"])
	require.Contains(t, strings.ReplaceAll(string(page), "\n", " "), fmt.Sprintf("at most %d bytes", spec.MaxKey))
	require.Contains(t, string(page), fmt.Sprintf("of at most %d characters", spec.MaxGate))
	require.Contains(t, string(page), fmt.Sprintf("not more than %d,", spec.MaxDefaultBurst))
	require.Contains(t, string(page), fmt.Sprintf("at most %.0fh", spec.MaxRetryDelay.Hours()))
	require.Contains(t, strings.ReplaceAll(string(page), "\n", " "), fmt.Sprintf("more than %d maps or conditional steps", spec.MaxChain))
	require.Equal(t, string(spec.ModeSkip), defaults["when_unmet"])
	require.Equal(t, string(spec.ModeFail), defaults["when_exhausted"])
}
