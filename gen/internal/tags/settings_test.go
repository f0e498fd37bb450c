package tags

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// readTag reads the tag of a field and returns the codes of what is wrong with it.
func readTag(t *testing.T, tag string, on Place) (*Settings, []diag.Code) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "shop.go", "package shop\n\ntype T struct {\n\tF int `"+tag+"`\n}\n", 0)
	require.NoError(t, err)
	var lit *ast.BasicLit
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok {
			lit = f.Tag
		}
		return true
	})
	diags := &diag.List{Fset: fset}
	settings := Read(diags, lit, on, "Shop.Charge")
	var codes []diag.Code
	for _, d := range diags.Sorted() {
		codes = append(codes, d.Code)
		require.Equal(t, 4, d.At.Line, "%s", d.Message)
	}
	return settings, codes
}

func TestRead(t *testing.T) {
	t.Parallel()
	s, codes := readTag(t, `max_attempts:"5" base_delay:"0s" timeout:"1m30s" start_delay:"1h" when_exhausted:"skip" from:"A" after:"B, C"`, OnStep)
	require.Empty(t, codes)
	none := time.Duration(0)
	require.Equal(t, model.Options{MaxAttempts: 5, BaseDelay: &none, Timeout: 90 * time.Second}, s.Options)
	require.Equal(t, time.Hour, s.StartDelay)
	require.Equal(t, spec.ModeSkip, s.WhenExhausted)
	require.Equal(t, `when_exhausted:"skip"`, s.Exhausted.String())
	require.Equal(t, "A", s.From.Word().Text)
	var words []string
	for _, w := range s.After.Words() {
		words = append(words, w.Text)
		require.EqualValues(t, len(w.Text), w.End-w.Pos)
	}
	require.Equal(t, []string{"B", "C"}, words)
	require.Nil(t, s.Condition())
	require.False(t, s.Unclear)
}

func TestReadMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tag     string
		on      Place
		code    diag.Code
		unclear bool // whether what the step waits for, or what skips it, may be meant
	}{
		"no pairs":            {`timeout=5s`, OnStep, diag.MalformedTag, true},
		"no space":            {`slug:"a"timeout:"5s"`, OnStep, diag.MalformedTag, true},
		"twice":               {`slug:"a" slug:"b"`, OnStep, diag.DuplicateTag, false},
		"misspelt":            {`form:"A" frm:"A"`, OnStep, diag.UnknownTag, true},
		"of a flow":           {`version:"2"`, OnStep, diag.MisplacedTag, true},
		"condition on a map":  {`if:"A.B"`, OnMap, diag.MisplacedTag, true},
		"empty":               {`from:""`, OnStep, diag.EmptyTag, true},
		"no attempt":          {`max_attempts:"0"`, OnStep, diag.BadNumber, false},
		"half an attempt":     {`max_attempts:"1.5"`, OnStep, diag.BadNumber, false},
		"too many attempts":   {`max_attempts:"2147483648"`, OnStep, diag.BadNumber, false},
		"no unit":             {`timeout:"5"`, OnStep, diag.BadDuration, false},
		"no time":             {`timeout:"0s"`, OnStep, diag.BadDuration, false},
		"a negative wait":     {`start_delay:"-1s"`, OnStep, diag.BadDuration, false},
		"a part of a second":  {`base_delay:"1500ms"`, OnStep, diag.BadDuration, false},
		"a century":           {`start_delay:"876000h"`, OnStep, diag.BadDuration, false},
		"no mode":             {`when_exhausted:"ignore"`, OnStep, diag.BadMode, true},
		"unmet for no reason": {`when_unmet:"fail"`, OnStep, diag.MissingCondition, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, codes := readTag(t, c.tag, c.on)
			require.NotEmpty(t, codes)
			for _, code := range codes {
				require.Equal(t, c.code, code)
			}
			require.Equal(t, c.unclear, s.Unclear)
		})
	}
}

func TestCheckCron(t *testing.T) {
	t.Parallel()
	for cron, want := range map[string]bool{
		"30 4 * * mon-fri": true, "*/5 * * * *": true, "@daily": true, "@every 90s": true, "CRON_TZ=Europe/Berlin 0 4 * * *": true,
		"0 0 29 2 *": true, "0 0 31 2 *": false, "": false, "* * * *": false, "0 4 * * ,": false, "*-5 * * * *": false,
		"@every 1.5s": false, "@every soon": false, "CRON_TZ=Local 0 4 * * *": false, "TZ=UTC 0 4 * * *": false, "CRON_TZ=UTC": false,
	} {
		t.Run(cron, func(t *testing.T) {
			t.Parallel()
			s, codes := readTag(t, `cron:"`+cron+`"`, OnFlow)
			if cron == "" {
				require.Equal(t, []diag.Code{diag.EmptyTag}, codes)
				return
			}
			require.Empty(t, codes)
			diags := &diag.List{Fset: token.NewFileSet()}
			require.Equal(t, want, CheckCron(diags, s.Cron, "Shop"))
			require.Equal(t, want, diags.Len() == 0)
		})
	}
}
