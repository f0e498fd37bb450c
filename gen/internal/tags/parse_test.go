package tags

import (
	"go/ast"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzTag compares the tag parser with reflect, which is the one that counts,
// and checks that every byte of a value is found where it stands.
func FuzzTag(f *testing.F) {
	for _, seed := range []string{
		`max_attempts:"5" timeout:"5s"`, `if:"Input.Plan == 'pro' && Input.Test"`, `a:"\"" b:"\u00e4\x41"`,
		`a=b c:"d"`, `a:"b", c:5 d`, `a = "b c"; d:"e"`, `a:"b`, `a: "b"`, `:"x"`, `a:"b"c:"d"`, `  a:"b"  `, "a:\"\t\"", `a:"\z"`, `ä:"ö"`, "a:\"\n\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		literals := []string{strconv.Quote(text)}
		if strconv.CanBackquote(text) {
			literals = append(literals, "`"+text+"`")
		}
		for _, value := range literals {
			const pos = 100
			pairs, fault := Parse(&ast.BasicLit{Kind: token.STRING, ValuePos: pos, Value: value})
			seen := map[string]bool{}
			for _, p := range pairs {
				want, ok := reflect.StructTag(text).Lookup(p.Key)
				require.True(t, ok, "%q in %s", p.Key, value)
				if !seen[p.Key] {
					require.Equal(t, want, p.Value)
				}
				seen[p.Key] = true
				require.Len(t, p.at, len(p.Value)+1)
				for i := range p.at {
					require.True(t, int(p.at[i]) > pos && int(p.at[i]) < pos+len(value))
					if i < len(p.Value) && value[0] == '`' && !strings.Contains(text, `\`) {
						require.Equal(t, value[int(p.at[i])-pos], p.Value[i])
					}
				}
			}
			if fault == nil {
				continue
			}
			require.True(t, int(fault.pos) >= pos && int(fault.pos) <= pos+len(value))
			if fault.instead != "" && value[0] == '`' { // then it can be followed
				at := int(fault.pos) - pos
				require.Equal(t, fault.text, value[at:at+len(fault.text)])
				fixed := value[:at] + fault.instead + value[at+len(fault.text):]
				_, left := Parse(&ast.BasicLit{Kind: token.STRING, ValuePos: pos, Value: fixed})
				require.True(t, left == nil || left.pos > fault.pos, "%s became %s", value, fixed)
			}
		}
	})
}
