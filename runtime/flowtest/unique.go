package flowtest

import (
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/internal/machine"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A holder is the run that was started last of those that are alike, and until when one is
// enough; zero until it has ended.
type holder struct {
	run   *run
	until time.Time
}

// uniqueKey returns what the runs of a flow have in common that are alike. ok is false if it
// does not matter, or if runs are put off: inline, they begin at once, and once one has
// begun, the next start is another.
func (f *flow) uniqueKey(input []byte) (key string, ok bool) {
	u := f.definition.Unique
	if u == nil || u.Debounce != 0 {
		return "", false
	}
	return base(f.Slug) + " " + machine.UniqueKey(u, input), true
}

// holds reports whether a run is enough of those that are alike.
func (db *DB) holds(h holder) bool {
	switch {
	case h.run == nil || db.runs[h.run.id] == nil:
		return false
	case !h.until.IsZero():
		return h.until.After(db.now)
	}
	return !h.run.Status().Ended()
}

// judge says of each run of a request that is new which one it is if there is one like it, and
// which other it replaces. It is an error if the flow or the request says so.
func (db *DB) judge(f *flow, r runtime.StartRequest) (existing, replaced []*run, _ error) {
	existing, replaced = make([]*run, len(r.Runs)), make([]*run, len(r.Runs))
	if r.WithoutUnique {
		return existing, replaced, nil
	}
	for i, n := range r.Runs {
		key, ok := f.uniqueKey(n.Input)
		if !ok || db.runs[n.ID] != nil {
			continue
		}
		held := db.unique[key]
		if !db.holds(held) {
			continue
		}
		switch on := f.definition.Unique.OnDuplicate; {
		case on == spec.DuplicateReplace:
			replaced[i] = held.run
		case on == spec.DuplicateError || r.ExactIDs:
			return nil, nil, &runtime.DuplicateRunError{Flow: held.run.flow.Slug, RunID: held.run.id}
		default:
			existing[i] = held.run
		}
	}
	return existing, replaced, nil
}

// leaders returns which of the runs of a request that are new and alike is started, by key: the
// last if it replaces the others, else the first.
func (db *DB) leaders(f *flow, r runtime.StartRequest) map[string]int {
	leaders := map[string]int{}
	for i, n := range r.Runs {
		key, ok := f.uniqueKey(n.Input)
		if !ok || db.runs[n.ID] != nil {
			continue
		}
		if _, there := leaders[key]; !there || f.definition.Unique.OnDuplicate == spec.DuplicateReplace {
			leaders[key] = i
		}
	}
	return leaders
}

// take gives a run its key.
func (db *DB) take(r *run, key string) {
	h := holder{run: r}
	if per := r.flow.definition.Unique.Per; per != 0 {
		h.until = db.now.Add(per)
	}
	db.unique[key] = h
}

// retake gives a run that is retried its key again. If another run like it has not ended, that
// is an error.
func (db *DB) retake(r *run) error {
	key, ok := r.flow.uniqueKey(r.input)
	if !ok || r.flow.definition.Unique.Per != 0 {
		return nil // which limit nothing but starts
	}
	if held := db.unique[key]; held.run != r && db.holds(held) {
		return &runtime.DuplicateRunError{Flow: held.run.flow.Slug, RunID: held.run.id}
	}
	db.take(r, key)
	return nil
}
