package gen

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
)

// codesPage is what flowc help says of codes.
const codesPage = "../cmd/flowc/help/codes.md"

// explained returns the codes on the help page, each with its example, and the text
// before them.
func explained(t *testing.T) (codes []diag.Code, examples map[diag.Code]string, top string) {
	page, err := os.ReadFile(codesPage)
	require.NoError(t, err)
	parts := strings.Split(string(page), "\n## ")
	examples = map[diag.Code]string{}
	for _, part := range parts[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		blocks := goBlocks(text)
		require.Len(t, blocks, 1, "%s has one example", heading)
		codes = append(codes, diag.Code(heading))
		examples[diag.Code(heading)] = blocks[0]
	}
	return codes, examples, parts[0]
}

func goBlocks(markdown string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestEveryCodeIsExplained holds that the help page has all codes, in their order, and
// that the example of each has that mistake and no other.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	codes, examples, top := explained(t)
	require.Equal(t, diag.Codes, codes)
	shop := goBlocks(top)
	require.Len(t, shop, 1)
	for _, code := range codes {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			source := andSoOn(examples[code])
			if !strings.HasPrefix(source, "package ") {
				source = shop[0] + "\n" + source
			}
			var found []string
			if code == diag.DoesNotLoad { // which takes the go command
				found = vetOnDisk(t, source)
			} else {
				tree, err := loadtest.Load(root, map[string]string{"shop/shop.go": source})
				require.NoError(t, err)
				_, mistakes := check.Packages(tree.Fset, tree.Packages)
				for _, d := range mistakes {
					found = append(found, string(d.Code))
				}
				if code == diag.UnknownTag {
					line, _, _ := strings.Cut(texts(mistakes, nil), "\n")
					require.Contains(t, top, "```text\n"+line+"\n```")
				}
			}
			require.Equal(t, []string{string(code)}, found, "%s", source)
		})
	}
}

// andSoOn writes out the lines between two numbered ones that a comment leaves out.
func andSoOn(example string) string {
	gap := regexp.MustCompile(`(?m)^(.*\b)M(\d+)( .*)M(\d+)(.*)\n\t// and so on\n\tM(\d+) `)
	return gap.ReplaceAllStringFunc(example, func(text string) string {
		m := gap.FindStringSubmatch(text)
		first, _ := strconv.Atoi(m[2])
		last, _ := strconv.Atoi(m[6])
		var b strings.Builder
		for i := first; i < last; i++ {
			b.WriteString(m[1] + "M" + strconv.Itoa(i) + m[3] + "M" + strconv.Itoa(i-1) + m[5] + "\n")
		}
		return b.String() + "\tM" + m[6] + " "
	})
}

// vetOnDisk returns the codes of the mistakes in a package that the go command reads.
func vetOnDisk(t *testing.T, source string) (codes []string) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/shop\n\ngo 1.25\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop.go"), []byte(source), 0o644))
	var mistakes *MistakesError
	require.True(t, errors.As(Vet(context.Background(), Options{Dir: dir}), &mistakes))
	for _, m := range mistakes.Mistakes {
		codes = append(codes, m.Code)
	}
	return codes
}

// TestEveryCodeIsUsed holds that each code is in the table, that each is reported
// somewhere, and that what is reported is one of them.
func TestEveryCodeIsUsed(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	table, err := parser.ParseFile(fset, "internal/diag/codes.go", nil, 0)
	require.NoError(t, err)
	unused := map[string]bool{}
	for name, obj := range table.Scope.Objects {
		if obj.Kind == ast.Con {
			unused[name] = true
		}
	}
	require.Len(t, diag.Codes, len(unused))
	seen := map[diag.Code]bool{}
	for _, code := range diag.Codes {
		require.Regexp(t, `^[a-z]+(-[a-z]+)*$`, code)
		require.False(t, seen[code], code)
		seen[code] = true
	}

	files, err := filepath.Glob("internal/*/*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "Add" && called.Sel.Name != "AddAt" || len(call.Args) < 3 {
				return true
			}
			code, ok := call.Args[0].(*ast.SelectorExpr)
			require.True(t, ok, "%s: the code is written out", fset.Position(call.Pos()))
			delete(unused, code.Sel.Name)
			return true
		})
	}
	require.Empty(t, unused, "no mistake has these codes")
}
