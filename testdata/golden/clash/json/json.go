// Package json has a name that generated code uses for something else.
package json

// Value is a value.
type Value struct{ A int }
