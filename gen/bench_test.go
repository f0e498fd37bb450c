package gen

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

// BenchmarkShop is what a flow of six steps costs once it is loaded.
func BenchmarkShop(b *testing.B) {
	source, err := os.ReadFile(golden + "/shop/shop.go")
	require.NoError(b, err)
	tree, err := loadtest.Load(root, map[string]string{"shop/shop.go": string(source)})
	require.NoError(b, err)
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			check.Packages(tree.Fset, tree.Packages)
		}
	})
	flows, _ := check.Packages(tree.Fset, tree.Packages)
	b.Run("emit", func(b *testing.B) {
		for b.Loop() {
			_, err := emit.File(flows[0])
			require.NoError(b, err)
		}
	})
}
