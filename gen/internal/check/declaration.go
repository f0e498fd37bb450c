package check

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"

	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A declaration is a struct that declares a flow or a job, on its way from the
// source to the model.
type declaration struct {
	pkg      string // import path
	name     string
	spec     *ast.TypeSpec
	field    *ast.Field // that embeds the head
	head     *marker
	headExpr ast.Expr
	settings *tags.Settings
	in       *producer // the flow's input; nil if it takes nothing
	steps    []*step
	flow     *model.Flow
	broken   bool // a type is one that the compiler rejects
	partial  bool // a field that may be meant as a step is refused
}

// slugPlace returns where the slug is decided.
func (d *declaration) slugPlace() (pos, end token.Pos) {
	if d.settings.Slug != nil {
		return d.settings.Slug.Pos(0), d.settings.Slug.End()
	}
	return where(d.spec.Name)
}

// hasField reports whether a field of the struct has a name.
func (d *declaration) hasField(name string) bool {
	fields := d.spec.Type.(*ast.StructType).Fields.List
	return slices.ContainsFunc(fields, func(f *ast.Field) bool {
		return slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return n.Name == name })
	})
}

// A step is a field that declares a step, or stands for the step of a job.
type step struct {
	who      string // in messages: ProcessOrder.Charge
	name     *ast.Ident
	field    *ast.Field
	expr     ast.Expr // the type of the field
	marker   *marker
	settings *tags.Settings
	index    int
	model    *model.Step
	in, out  types.Type // nil for nothing and for what the compiler rejects
	gives    *producer  // nil if it gives nothing
	broken   bool       // in or out is one that the compiler rejects
	deps     []*step
	bound    bool // its inputs are known, so deps are complete
}

// slugPlace returns where the slug is decided.
func (s *step) slugPlace() (pos, end token.Pos) {
	if s.settings.Slug != nil {
		return s.settings.Slug.Pos(0), s.settings.Slug.End()
	}
	return where(s.name)
}

// A producer is what an input can come from: the flow's input or a step.
type producer struct {
	name string     // Input, or the name of the step
	key  string     // the slug of the step, or spec.RunKey
	step *step      // nil for the flow's input
	typ  types.Type // what it gives; nil if the compiler rejects it
}

// producers returns all that give something, the flow's input first, then the steps
// as declared, without one that cannot count.
func (d *declaration) producers(without *step) (list []*producer) {
	if d.in != nil {
		list = append(list, d.in)
	}
	for _, s := range d.steps {
		if s.gives != nil && s != without {
			list = append(list, s.gives)
		}
	}
	return list
}

// names returns the names of producers.
func names(producers []*producer) (list []string) {
	for _, p := range producers {
		list = append(list, p.name)
	}
	return list
}

// candidates returns the producers that give a type exactly, and those that give it but
// for whether it may be absent. The first are the choice; of the second one is meant if
// it is the only one, and does not fit.
func candidates(producers []*producer, t types.Type, result bool) (exact, almost []*producer) {
	for _, p := range producers {
		switch {
		case p.typ == nil:
		case types.Identical(p.given(result), t):
			exact = append(exact, p)
		case types.Identical(optional(p.typ), t), types.Identical(p.typ, t):
			almost = append(almost, p)
		}
	}
	return exact, almost
}

// unclear reports whether it is not known what all producers give, since another
// mistake stands in the way. Then nothing can be said to be given by none.
func (d *declaration) unclear(producers []*producer, result bool) bool {
	return d.partial || slices.ContainsFunc(producers, func(p *producer) bool { return p.unclear(result) })
}

// given returns the type that one sees who takes from the producer: optional if it
// may be absent there. The flow's result also sees what a cascade skips.
func (p *producer) given(result bool) types.Type {
	if p.typ != nil && p.step != nil && len(p.step.skippedBy(result)) > 0 {
		return optional(p.typ)
	}
	return p.typ
}

// unclear reports whether it is not known what the producer gives, or gives to
// the flow's result, since another mistake stands in the way.
func (p *producer) unclear(result bool) bool {
	return p.typ == nil || p.step != nil && (p.step.settings.Unclear || result && p.step.unclearBefore(map[*step]bool{}))
}

// unclearBefore reports whether it is not known what can skip the step by a cascade.
func (s *step) unclearBefore(seen map[*step]bool) bool {
	if seen[s] {
		return false
	}
	seen[s] = true
	return !s.bound || slices.ContainsFunc(s.deps, func(dep *step) bool { return dep.settings.Unclear || dep.unclearBefore(seen) })
}

// skippedBy returns the tags that can leave a step without an output where
// something still takes it. A step behind a cascade is gone together with it, so
// that only the flow's result can miss it.
func (s *step) skippedBy(result bool) (causes []*cause) {
	set := s.settings
	conditional := set.Condition()
	unmet, exhausted := set.WhenUnmet, set.WhenExhausted
	if unmet == "" {
		unmet = spec.ModeSkip
	}
	cascades := func(m spec.Mode) bool { return m == spec.ModeSkipCascade && result }
	if conditional != nil && (unmet == spec.ModeSkip || cascades(unmet)) {
		causes = append(causes, &cause{s, conditional})
	}
	if exhausted == spec.ModeSkip || cascades(exhausted) {
		causes = append(causes, &cause{s, set.Exhausted})
	}
	if result {
		causes = append(causes, s.behind(map[*step]bool{})...)
	}
	return causes
}

// behind returns the tags of the steps before s whose cascades take s with them.
func (s *step) behind(seen map[*step]bool) (causes []*cause) {
	for _, dep := range s.deps {
		if seen[dep] {
			continue
		}
		seen[dep] = true
		set := dep.settings
		if condition := set.Condition(); set.WhenUnmet == spec.ModeSkipCascade && condition != nil {
			causes = append(causes, &cause{dep, condition})
		}
		if set.WhenExhausted == spec.ModeSkipCascade {
			causes = append(causes, &cause{dep, set.Exhausted})
		}
		causes = append(causes, dep.behind(seen)...)
	}
	return causes
}

// A cause is a tag that can skip a step.
type cause struct {
	step *step
	*tags.Pair
}

// optional returns the type of a T that may be absent: what can be nil stays as it is.
func optional(t types.Type) types.Type {
	switch t.Underlying().(type) {
	case *types.Slice, *types.Map, *types.Pointer, *types.Interface:
		return t
	}
	return types.NewPointer(t)
}

// A want is an input that has to come from somewhere: of a step, or the output
// of the flow, which is as the input of a last step.
type want struct {
	who    string // in messages: ProcessOrder.Charge's input
	typ    types.Type
	expr   ast.Expr // typ in the source
	from   *tags.Pair
	tag    *tags.Settings // of who wants it
	self   *step          // who wants it, and cannot give it to itself
	result bool           // it is the output of the flow
}
