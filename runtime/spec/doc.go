// Package spec defines flows as plain data: what runtime.UpsertFlow stores in the database,
// and what ops.GetDefinition reads back. It validates, encodes, parses and compares
// definitions, and needs no database driver.
//
//	flow := spec.Flow{Slug: "report", Steps: []spec.Step{
//		{Slug: "fetch"},
//		{Slug: "render", Deps: []string{"fetch"}},
//	}}
//	err := flow.Validate()
package spec
