package cond

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
)

// FuzzCondition checks that a condition is either understood or refused at a
// place inside of it, and that what is understood can be written again.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"A.B", "A.B == 'x'", "A == -1.5e3 && B.C == true", "A == 'it''s'", "A.", "== 3", "A == 'x", "A && ", "A || B", "A==1&&B==2", "ä.Ö == 0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		cond, fault := parse(source)
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
				require.True(t, json.Valid(jsonform.Quote(l.text)))
			default:
				text += " == " + l.text
				require.True(t, json.Valid([]byte(l.text)), l.text)
			}
			terms = append(terms, text)
		}
		again, fault := parse(strings.Join(terms, " && "))
		require.Nil(t, fault)
		require.Len(t, again, len(cond))
		for i := range cond {
			require.Equal(t, path(cond[i].path), path(again[i].path))
			require.Equal(t, cond[i].literal.text, again[i].literal.text)
			require.Equal(t, cond[i].literal.kind, again[i].literal.kind)
		}
	})
}
