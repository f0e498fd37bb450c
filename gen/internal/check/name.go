package check

import (
	"go/token"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flowc-dev/flowc/gen/internal/load"
)

var (
	slugForm    = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	reserved    = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])$`)
	packageForm = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
)

// snake returns a Go name in snake_case. It splits before an upper letter that
// follows a lower letter or digit, or that precedes a lower letter.
func snake(name string) string {
	runes := []rune(name)
	var b strings.Builder
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && runes[i-1] != '_' {
			after, next := runes[i-1], rune(0)
			if i+1 < len(runes) {
				next = runes[i+1]
			}
			if unicode.IsLower(after) || unicode.IsDigit(after) || unicode.IsLower(next) {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// base returns the name of a flow without a trailing Flow or Job.
func base(name string) string {
	for _, suffix := range []string{"Flow", "Job"} {
		if short, ok := strings.CutSuffix(name, suffix); ok && short != "" {
			return short
		}
	}
	return name
}

// exported says how to give an exported name instead of another.
func exported(name string, taken func(name string) bool) string {
	runes := []rune(strings.TrimLeft(name, "_"))
	if len(runes) > 0 {
		runes[0] = unicode.ToUpper(runes[0])
	}
	if better := string(runes); token.IsExported(better) && !taken(better) {
		return "call it " + better + ", with an upper case letter"
	}
	return "give it a name that begins with an upper case letter"
}

// asSlug returns a name with what cannot be in a slug replaced, or "" if it is not
// written in ASCII at all. Digits in front go to the end.
func asSlug(name string) string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r > unicode.MaxASCII:
			return -1
		case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return r
		}
		return '_'
	}, name)
	if utf8.RuneCountInString(slug) != utf8.RuneCountInString(name) {
		return ""
	}
	slug = strings.Join(strings.FieldsFunc(slug, func(r rune) bool { return r == '_' }), "_")
	rest := strings.TrimLeft(slug, "0123456789")
	digits := slug[:len(slug)-len(rest)]
	if rest = strings.Trim(rest, "_"); rest == "" {
		return ""
	}
	return rest + digits
}

// packageFault says why a name cannot be that of a generated package and its
// folder, or "".
func packageFault(name string) string {
	switch {
	case !packageForm.MatchString(name):
		return "is not a package name of ASCII letters, digits and underscores"
	case token.IsKeyword(name):
		return "is a keyword of Go"
	case name == "init":
		return "no file could import by that name"
	case name == "internal":
		return "packages elsewhere could not import"
	case name == "main", name == "vendor", name == "testdata", name == "documentation", strings.HasSuffix(name, "_test"):
		return "means something else to the go command"
	case load.OnlySome(name):
		return "the go command would build for some systems only"
	case reserved.MatchString(name):
		return "Windows keeps for its devices, so that the go command refuses it"
	}
	return ""
}
