package tags

import (
	"fmt"
	"go/ast"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
)

// FixBySetting makes it the fix of a mistake to add a key to the tag of a field.
func FixBySetting(b *diag.Builder, field *ast.Field, key, value string) {
	b.Fix(`tag it %s:"%s"`, key, value)
	switch {
	case field == nil || len(field.Names) > 1: // the tag would be that of several
	case field.Tag == nil:
		b.Edit(field.Type.End(), field.Type.End(), fmt.Sprintf(" `%s:\"%s\"`", key, value))
	case field.Tag.Value[0] == '`':
		b.Edit(field.Tag.End()-1, field.Tag.End()-1, fmt.Sprintf(` %s:"%s"`, key, value))
	}
}

// editRemoval adds to a mistake the edit that removes a pair from its tag.
func editRemoval(b *diag.Builder, p *Pair) {
	switch lit := p.tag; {
	case lit.Value[0] != '`':
	case strings.TrimSpace(lit.Value[1:p.KeyPos-lit.Pos()]) == "" && strings.TrimSpace(lit.Value[p.End()+1-lit.Pos():len(lit.Value)-1]) == "":
		b.Edit(lit.Pos(), lit.End(), "") // it is all there is
	case lit.Value[p.KeyPos-lit.Pos()-1] == ' ':
		b.Edit(p.KeyPos-1, p.End()+1, "")
	default:
		b.Edit(p.KeyPos, p.End()+1, "")
	}
}

// Insert adds to a mistake the edit that puts pairs in front of one.
func Insert(b *diag.Builder, p *Pair, pairs string) {
	if p.tag.Value[0] == '`' {
		b.Edit(p.KeyPos, p.KeyPos, pairs+" ")
	}
}
