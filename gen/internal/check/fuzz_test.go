package check

import (
	"encoding/json"
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
			pairs, fault := parseTag(&ast.BasicLit{Kind: token.STRING, ValuePos: pos, Value: value})
			seen := map[string]bool{}
			for _, p := range pairs {
				want, ok := reflect.StructTag(text).Lookup(p.key)
				require.True(t, ok, "%q in %s", p.key, value)
				if !seen[p.key] {
					require.Equal(t, want, p.value)
				}
				seen[p.key] = true
				require.Len(t, p.at, len(p.value)+1)
				for i := range p.at {
					require.True(t, int(p.at[i]) > pos && int(p.at[i]) < pos+len(value))
					if i < len(p.value) && value[0] == '`' && !strings.Contains(text, `\`) {
						require.Equal(t, value[int(p.at[i])-pos], p.value[i])
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
				_, left := parseTag(&ast.BasicLit{Kind: token.STRING, ValuePos: pos, Value: fixed})
				require.True(t, left == nil || left.pos > fault.pos, "%s became %s", value, fixed)
			}
		}
	})
}

// FuzzCondition checks that a condition is either understood or refused at a
// place inside of it, and that what is understood can be written again.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"A.B", "A.B == 'x'", "A == -1.5e3 && B.C == true", "A == 'it''s'", "A.", "== 3", "A == 'x", "A && ", "A || B", "A==1&&B==2", "ä.Ö == 0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		cond, fault := parseCondition(source)
		if fault != nil {
			require.True(t, 0 <= fault.start && fault.start <= fault.end && fault.end <= len(source))
			require.NotEmpty(t, fault.message)
			require.NotEmpty(t, fault.fix)
			return
		}
		require.NotEmpty(t, cond)
		var terms []string
		for _, c := range cond {
			text := path(c.path)
			for _, s := range c.path {
				require.Equal(t, s.name, source[s.start:s.end])
			}
			switch l := c.literal; l.kind {
			case absent:
			case stringKind:
				text += " == '" + strings.ReplaceAll(l.text, "'", "''") + "'"
				require.True(t, json.Valid(quote(l.text)))
			default:
				text += " == " + l.text
				require.True(t, json.Valid([]byte(l.text)), l.text)
			}
			terms = append(terms, text)
		}
		again, fault := parseCondition(strings.Join(terms, " && "))
		require.Nil(t, fault)
		require.Len(t, again, len(cond))
		for i := range cond {
			require.Equal(t, path(cond[i].path), path(again[i].path))
			require.Equal(t, cond[i].literal.text, again[i].literal.text)
			require.Equal(t, cond[i].literal.kind, again[i].literal.kind)
		}
	})
}
