// Package flow has a name that generated code uses for something else.
package flow

// Value is a value.
type Value struct{ A int }
