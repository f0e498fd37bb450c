package check

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"

	"github.com/flowc-dev/flowc/gen/internal/diag"
	"github.com/flowc-dev/flowc/gen/internal/tags"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// nameFlow decides and checks the slug and the package.
func (c *checker) nameFlow(d *declaration) {
	slug := snake(d.name)
	if d.settings.Slug != nil {
		slug = d.settings.Slug.Value
	}
	pos, end := d.slugPlace()
	if c.checkSlug(d.name, slug, instead(d.name, "flow"), ast.IsExported(d.name), d.settings.Slug, d.field, pos, end) {
		if d.settings.Version > 1 {
			slug += fmt.Sprintf("_v%d", d.settings.Version)
		}
		if len(slug) > spec.MaxFlowSlug {
			c.diags.Add(diag.LongSlug, pos, end, "%s: the slug %q has %d characters, and the database allows %d", d.name, slug, len(slug), spec.MaxFlowSlug).
				Fix(`tag it slug:"…" with a shorter one`)
		}
		d.flow.Slug = slug
	}

	name := strings.ToLower(d.name)
	if d.settings.Package != nil {
		name = d.settings.Package.Value
		pos, end = d.settings.Package.Pos(0), d.settings.Package.End()
	} else {
		pos, end = where(d.spec.Name)
	}
	if fault := packageFault(name); fault != "" {
		b := c.diags.Add(diag.BadPackage, pos, end, "%s cannot be generated as package %q, which %s", d.name, name, fault)
		better := strings.Trim(asSlug(name), "_")
		if packageFault(better) != "" {
			better = strings.ReplaceAll(better, "_", "")
		}
		if packageFault(better) != "" {
			better += "flow"
		}
		if asSlug(name) == "" {
			better = ""
		}
		c.suggest(b, "package", better, d.settings.Package, d.field)
		return
	}
	d.flow.Package = name
}

// nameSteps decides and checks the slugs of the steps.
func (c *checker) nameSteps(d *declaration) {
	if d.flow.Job {
		d.steps[0].model.Slug = d.flow.Slug
		d.steps[0].model.Name = d.flow.Base
		return
	}
	seen := map[string]*step{}
	for _, s := range d.steps {
		slug := snake(s.name.Name)
		if s.settings.Slug != nil {
			slug = s.settings.Slug.Value
		}
		s.model.Slug = slug
		pos, end := s.slugPlace()
		if !c.checkSlug(s.who, slug, instead(s.name.Name, "step"), s.name.IsExported(), s.settings.Slug, s.field, pos, end) {
			continue
		}
		if !s.name.IsExported() && s.settings.Slug == nil {
			continue // it will have another one
		}
		if len(slug) > spec.MaxStepSlug {
			c.diags.Add(diag.LongSlug, pos, end, "%s: the slug %q has %d characters, and the database allows %d", s.who, slug, len(slug), spec.MaxStepSlug).
				Fix(`tag it slug:"…" with a shorter one`)
		}
		// encoding/json would take one for the other if they differed only by case.
		if first := seen[strings.ToLower(slug)]; first != nil {
			b := c.diags.Add(diag.DuplicateSlug, pos, end, "%s has the slug %q, and so has %s", s.who, slug, first.name.Name).
				NoteAt(first.name.Pos(), "%s is declared here, with the slug %q", first.name.Name, first.model.Slug)
			if slug != first.model.Slug {
				b.Note("upper and lower case count as one")
			}
			c.suggest(b, "slug", free(slug, func(s string) bool { return seen[strings.ToLower(s)] != nil }), s.settings.Slug, s.field)
			continue
		}
		seen[strings.ToLower(slug)] = s
	}
}

// checkSlug checks the form of a slug that is in a tag, or else made from a name.
// instead is what it could be if it is reserved. named is set if the name will stay, since
// it is exported.
func (c *checker) checkSlug(who, slug, instead string, named bool, tag *tags.Pair, field *ast.Field, pos, end token.Pos) bool {
	switch {
	case strings.EqualFold(slug, spec.RunKey):
		b := c.diags.Add(diag.ReservedName, pos, end, "%s: %q is what the database calls the run's own input", who, slug)
		c.suggest(b, "slug", instead, tag, field)
	case !slugForm.MatchString(slug):
		b := c.diags.Add(diag.BadSlug, pos, end, "%s: %q is not a slug: a letter or underscore, then letters, digits and underscores, all of them ASCII", who, slug)
		c.suggest(b, "slug", asSlug(slug), tag, field)
	case laterRefused(slug) != "" && (tag != nil || named):
		b := c.diags.Add(diag.BadSlug, pos, end, "%s: the slug %q %s, which later versions of the contract with other languages refuse", who, slug, laterRefused(slug))
		c.suggest(b, "slug", asSlug(slug), tag, field)
	default:
		return true
	}
	return false
}

// laterRefused says what of a slug today's database accepts and a later one does not, or
// "".
func laterRefused(slug string) string {
	switch {
	case strings.HasPrefix(slug, "_"):
		return "begins with an underscore"
	case strings.HasSuffix(slug, "_"):
		return "ends with an underscore"
	case strings.Contains(slug, "__"):
		return "has two underscores in a row"
	}
	return ""
}

// instead returns a slug for a name that is not the one that is reserved.
func instead(name, kind string) string {
	if slug := snake(name); slug != spec.RunKey {
		return slug
	}
	return spec.RunKey + "_" + kind
}

// suggest makes another value of a naming tag the fix of a mistake; an empty one
// is for the user to find.
func (c *checker) suggest(b *diag.Builder, key, value string, tag *tags.Pair, field *ast.Field) {
	switch {
	case value == "" && tag != nil:
		b.Fix("choose another %s", key)
	case value == "":
		b.Fix(`tag it %s:"…" with one of ASCII letters`, key)
	case tag != nil:
		b.Fix(`%s:"%s"`, key, value).Edit(tag.Pos(0), tag.End(), value)
	default:
		tags.FixBySetting(b, field, key, value)
	}
}

// free returns a name that is not taken yet.
func free(name string, taken func(string) bool) string {
	for i := 2; ; i++ {
		if candidate := fmt.Sprintf("%s_%d", name, i); !taken(candidate) {
			return candidate
		}
	}
}

// checkSlugs finds flows that the database could not keep apart. The names of
// its queues ignore case.
func checkSlugs(diags *diag.List, all []*declaration) {
	seen := map[string]*declaration{}
	for _, d := range inOrder(all) {
		slug := d.flow.Slug
		if slug == "" {
			continue
		}
		key := strings.ToLower(slug)
		first := seen[key]
		if first == nil {
			seen[key] = d
			continue
		}
		pos, end := d.slugPlace()
		b := diags.Add(diag.DuplicateSlug, pos, end, "%s has the slug %q, and so has %s", d.name, slug, first.name).
			NoteAt(first.spec.Name.Pos(), "%s is declared here, with the slug %q", first.name, first.flow.Slug)
		if slug != first.flow.Slug {
			b.Note("upper and lower case count as one")
		}
		b.Fix(`tag one of them slug:"…" with another one; what a database has already keeps the one it has`)
	}
}

// inOrder returns declarations by their packages and places.
func inOrder(all []*declaration) []*declaration {
	ordered := slices.Clone(all)
	slices.SortStableFunc(ordered, func(a, b *declaration) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.spec.Pos(), b.spec.Pos()))
	})
	return ordered
}

// checkPackages checks the names of the generated packages, and that the
// declaring package does not import them.
func (c *checker) checkPackages(declared []*declaration) {
	seen := map[string]*declaration{}
	for _, d := range declared {
		name := d.flow.Package
		if name == "" {
			continue
		}
		if first := seen[strings.ToLower(name)]; first != nil {
			pos, end := where(d.spec.Name)
			if d.settings.Package != nil {
				pos, end = d.settings.Package.Pos(0), d.settings.Package.End()
			}
			b := c.diags.Add(diag.DuplicatePackage, pos, end, "%s would be generated as package %s, and so would %s", d.name, name, first.name).
				NoteAt(first.spec.Name.Pos(), "%s is declared here", first.name)
			c.suggest(b, "package", free(name, func(s string) bool { return seen[s] != nil }), d.settings.Package, d.field)
			continue
		}
		seen[strings.ToLower(name)] = d
		for _, file := range c.pkg.Files {
			for _, spec := range file.Imports {
				if strings.Trim(spec.Path.Value, "`\"") != d.flow.Path() {
					continue
				}
				c.importsGenerated = true
				pos, end := where(spec.Path)
				c.diags.Add(diag.ImportOfGenerated, pos, end, "package %s declares %s, so it cannot import %s, which is generated from it",
					c.pkg.Name, d.name, d.flow.Path()).
					Fix("move the code that uses it to another package")
			}
		}
	}
}
