// Package spec defines flows as plain data: what generated packages and package
// runtime put into the database, and what is read back from it. It checks, encodes,
// parses and compares definitions, and needs no database driver.
//
//	flow := spec.Flow{Slug: "report", Steps: []spec.Step{
//		{Slug: "fetch"},
//		{Slug: "render", Deps: []string{"fetch"}},
//	}}
//	err := flow.Validate()
package spec
