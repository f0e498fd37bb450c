// Package runtime has a name that generated code uses for something else.
package runtime

// Value is a value.
type Value struct{ A int }
