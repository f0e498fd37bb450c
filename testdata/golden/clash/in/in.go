// Package in has a name that generated code uses for something else.
package in

// Value is a value.
type Value struct{ A int }
