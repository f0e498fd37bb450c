package gen

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/flowc-dev/flowc/gen/internal/check"
	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/loadtest"
	"github.com/flowc-dev/flowc/gen/internal/model"
)

// randomTypes are the types that random declarations are made of, with the
// fields that conditions look at.
const randomTypes = `
type A struct {
	B    bool
	S    string ` + "`json:\"text\"`" + `
	N    int    ` + "`json:\"n,omitempty\"`" + `
	Deep *Deep
	At   time.Time
	E
	*Far
}
type B struct{ List []A }
type E struct{ Flag bool }
type Far struct {
	Pause *time.Duration
	Mode Mode
	Once *bool ` + "`json:\"once\"`" + `
}
type Mode string
type Deep struct{ F float64; Q bool ` + "`json:\",string\"`" + ` }
type P[T any] struct{ Item T }
type L []B
`

// A random makes one declaration of a flow.
type random struct {
	t       *rapid.T
	outs    []string // what Input and each step give
	names   []string
	joins   strings.Builder
	strange bool // now and then, something is wrong
}

func (r *random) oneOf(label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(r.t, label)
}

// rarely reports true in one of n cases.
func (r *random) rarely(label string, n int) bool { return rapid.IntRange(1, n).Draw(r.t, label) == 1 }

func (r *random) typ() string {
	t := r.oneOf("type", "A", "B", "E", "P[A]", "P[[]B]", "L", "[]A", "[]B", "string", "int", "any", "map[string]A", "*A", "struct{ X int }")
	if r.strange && r.rarely("odd type", 15) {
		return r.oneOf("odd", "chan int", "Missing", "dsl.None", "hidden", "func()", "[]byte", "P[chan int]", "struct{ x int }")
	}
	return t
}

// earlier returns a producer that is declared before.
func (r *random) earlier() int { return rapid.IntRange(0, len(r.names)-1).Draw(r.t, "earlier") }

func (r *random) condition(from int) string {
	term := func() string {
		return r.oneOf("term", ".B", ".S == 'x'", ".S == 'it''s'", ".N == 3", ".Deep.F == 1.5", ".Deep.Q == true", ".Flag", ".E.Flag == false", ".Mode == 'x'", ".Once", ".Far.Once == false")
	}
	text := r.names[from] + term()
	if r.rarely("and", 3) {
		text += " && " + r.names[from] + term()
	}
	if r.strange && r.rarely("odd condition", 8) {
		text = r.oneOf("odd", "", "X", text+" ||", "Input", r.names[from]+".List == 1", "Input.S == 'x", "Input.B &&\\nInput.S == '\\x00'")
	}
	return text
}

// marker returns what a step is that is no map.
func (r *random) marker() string { return r.oneOf("marker", "Step", "Step", "Step", "Wait") }

func (r *random) step(i int) string {
	name := r.oneOf("name", "Check", "Pack", "ShipURL", "X", "Handlers", "Serve", "In", "Type", "Überall") + fmt.Sprint(i)
	if r.strange && r.rarely("odd name", 20) {
		name = r.oneOf("odd", "Input", "_", "lower", "Check1", "Run")
	}
	out := r.typ()
	var tags []string
	field := ""
	from := r.earlier()
	given := r.outs[from]
	switch rapid.IntRange(0, 4).Draw(r.t, "kind") {
	case 0: // a map
		for k, o := range r.outs {
			if strings.HasPrefix(o, "[]") {
				field = fmt.Sprintf("dsl.Map[%s, %s]", o[2:], out)
				tags = append(tags, fmt.Sprintf(`over:"%s"`, r.names[k]))
				out = "[]" + out
				break
			}
		}
		if field != "" {
			break
		}
		fallthrough
	case 1: // a join
		join := fmt.Sprintf("%sInput%d", strings.TrimLeft(name, "_"), i)
		fmt.Fprintf(&r.joins, "type %s struct {\n", join)
		seen := map[int]bool{}
		for range rapid.IntRange(1, 3).Draw(r.t, "fields") {
			if k := r.earlier(); !seen[k] {
				seen[k] = true
				fmt.Fprintf(&r.joins, "\t%s %s\n", r.names[k], r.outs[k])
			}
		}
		r.joins.WriteString("}\n")
		field = fmt.Sprintf("dsl.%s[%s, %s]", r.marker(), join, out)
	case 2: // nothing
		field = fmt.Sprintf("dsl.%s[dsl.None, %s]", r.marker(), out)
		if from > 0 || r.strange {
			tags = append(tags, fmt.Sprintf(`after:"%s"`, r.names[from]))
		}
	default:
		field = fmt.Sprintf("dsl.%s[%s, %s]", r.marker(), given, out)
		tags = append(tags, fmt.Sprintf(`from:"%s"`, r.names[from]))
		if given == "A" && r.rarely("if", 2) {
			tags = append(tags, fmt.Sprintf(`%s:"%s"`, r.oneOf("key", "if", "if_not"), r.condition(from)))
			tags = append(tags, fmt.Sprintf(`when_unmet:"%s"`, r.oneOf("mode", "skip", "skip-cascade", "fail")))
		}
	}
	if r.rarely("options", 3) {
		options := []string{`timeout:"1h"`, `when_exhausted:"skip-cascade"`, `when_exhausted:"skip"`}
		switch {
		case strings.HasPrefix(field, "dsl.Wait"):
			options = append(options, `key:"Input.S"`, `key:"Input.N" keep:"1h"`)
		default:
			options = append(options, `max_attempts:"7"`, `base_delay:"0s"`, `start_delay:"90s"`, `start_at:"Input.At"`, `start_delay:"Input.Far.Pause"`, `priority:"low"`, `max_wait:"1h"`,
				`concurrency:"3"`, `concurrency:"1" strict_order:"true"`, `rate:"5/s,2" gate:"shared"`, `key:"Input.S"`, `key:"Input.N" concurrency:"2"`)
		}
		tags = append(tags, r.oneOf("option", options...))
	}
	if strings.HasPrefix(name, "Ü") && !(r.strange && r.rarely("no slug", 5)) {
		tags = append(tags, fmt.Sprintf(`slug:"over_%d"`, i))
	}
	if r.strange && r.rarely("odd tag", 10) {
		tags = append(tags, r.oneOf("odd", `atempts:"3"`, `timeout:"5"`, `x`, `from:"Nobody"`, `after:"Check1,,X2"`, `slug:"-"`, `if:"Input.B"`, `over:"Input"`, `when_unmet:"no"`,
			`rate:"5"`, `gate:"shared"`, `gate:"shared" rate:"1/h"`, `key:"X1"`, `concurrency:"0"`))
	}
	r.names = append(r.names, name)
	r.outs = append(r.outs, out)
	return fmt.Sprintf("\t%s %s `%s`\n", name, field, strings.Join(tags, " "))
}

// source returns a package that declares a flow.
func (r *random) source() string {
	in := r.typ()
	r.names, r.outs = []string{"Input"}, []string{in}
	var steps strings.Builder
	n := rapid.IntRange(1, 6).Draw(r.t, "steps")
	for i := range n {
		steps.WriteString(r.step(i))
	}
	out, from := "dsl.None", ""
	if k := r.earlier(); r.rarely("output", 2) {
		out, from = r.outs[k], fmt.Sprintf(` from:"%s"`, r.names[k])
	}
	return "package shop\n\nimport (\n\t\"time\"\n\n\t\"github.com/flowc-dev/flowc/dsl\"\n)\n\ntype Random struct {\n" +
		fmt.Sprintf("\tdsl.Flow[%s, %s] `timeout:\"5s\"%s`\n", in, out, from) + steps.String() + "}\n" +
		r.joins.String() + randomTypes + "\ntype hidden struct{ X int }\n"
}

// TestRandom declares flows at random: each has mistakes that are reported, or what
// is generated compiles.
func TestRandom(t *testing.T) {
	t.Parallel()
	var generated, told atomic.Int64
	t.Run("flows", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			flows, found := tryRandom(rt)
			generated.Add(int64(flows))
			told.Add(int64(found))
		})
	})
	require.NotZero(t, generated.Load(), "every flow had a mistake")
	require.NotZero(t, told.Load(), "no flow had a mistake")
	t.Logf("%d flows were generated, %d mistakes told", generated.Load(), told.Load())
}

// FuzzDeclarations is TestRandom for as long as one likes.
func FuzzDeclarations(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(rt *rapid.T) { tryRandom(rt) }))
}

// tryRandom declares a flow. It returns how many were generated, and how many
// mistakes reported.
func tryRandom(rt *rapid.T) (generated, told int) {
	r := &random{t: rt, strange: rapid.Bool().Draw(rt, "strange")}
	source := r.source()
	tree, err := loadtest.Load(root, map[string]string{"shop/shop.go": source})
	if err != nil {
		rt.Skip("not Go: ", err)
	}
	flows, found := check.Packages(tree.Fset, tree.Packages)
	for _, d := range found {
		require.NotEmpty(rt, d.Message)
		require.True(rt, d.At.IsValid(), "%s\n%s", d.Message, source)
	}
	if len(found) > 0 {
		require.Empty(rt, flows)
		return 0, len(found)
	}
	for _, flow := range flows {
		requireOrder(rt, flow)
		require.NoError(rt, emit.Definition(flow).Validate(), "%s", source)
		code, err := emit.File(flow)
		require.NoError(rt, err, "%s", source)
		require.NoError(rt, tree.Compile(flow.Path(), code), "%s\n%s", source, code)
	}
	return len(flows), 0
}

// requireOrder checks that steps come after those they wait for.
func requireOrder(t require.TestingT, flow *model.Flow) {
	seen := map[string]bool{}
	for _, s := range flow.Steps {
		for _, dep := range s.Deps {
			require.True(t, seen[dep], "%s comes before %s", s.Slug, dep)
		}
		seen[s.Slug] = true
	}
}
