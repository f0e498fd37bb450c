package pgcall

import "time"

// OrZero returns what a nullable column has, the zero T for NULL.
func OrZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// NilIfZero returns an argument that is NULL for the zero time.
func NilIfZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	at := t // so that the zero time is not moved to the heap
	return &at
}

// NilIfEmpty returns an argument that is NULL for no texts.
func NilIfEmpty[S ~[]T, T ~string](s S) []string {
	if len(s) == 0 {
		return nil
	}
	texts := make([]string, len(s))
	for i, v := range s {
		texts[i] = string(v)
	}
	return texts
}
