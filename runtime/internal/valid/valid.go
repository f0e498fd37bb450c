// Package valid checks arguments that packages runtime and ops share, before the first query.
package valid

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// The errors that are found in what this package returns. Package runtime exports
// and documents them.
var (
	ErrInvalidSlug   = errors.New("not a flow slug")
	ErrInvalidRunID  = errors.New("not a run id")
	ErrInvalidOption = errors.New("invalid option")
)

// Option returns an [ErrInvalidOption] with a text.
func Option(format string, args ...any) error {
	return fmt.Errorf("flowc: %w: %s", ErrInvalidOption, fmt.Sprintf(format, args...))
}

// FlowSlug refuses a slug that no flow can have.
func FlowSlug(slug string) error {
	if problem := spec.SlugProblem(slug); problem != "" {
		return fmt.Errorf("flowc: %w: %s", ErrInvalidSlug, problem)
	}
	return nil
}

// RunID parses the id of a run.
func RunID(id string) (uuid.UUID, error) {
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		return uuid.UUID{}, fmt.Errorf("flowc: %q: %w, which is a UUID like 01890a5d-ac96-774b-bcce-b302099a8057", id, ErrInvalidRunID)
	}
	return parsed, nil
}

// Text refuses a text that the database cannot store.
func Text(what, text string) error {
	switch {
	case !utf8.ValidString(text):
		return Option("%s is not valid UTF-8: %q", what, text)
	case strings.Contains(text, "\x00"):
		return Option("%s has a NUL: %q", what, text)
	}
	return nil
}

// Time refuses a time that JSON, or the database, has no year for.
func Time(what string, t time.Time) error {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return Option("%s is in the year %d, it must be in one with four digits", what, year)
	}
	return nil
}
