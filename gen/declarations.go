package gen

import (
	"context"

	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// A Declaration is a declared flow as the database keeps it.
type Declaration struct {
	// Flow is the name of the declaration.
	Flow string
	// Version is that of its tag, at least 1.
	Version int
	// Newer is the name of the declaration of a newer version, if there is one.
	Newer string
	// Definition is what its generated package holds.
	Definition spec.Flow
}

// Declarations returns the flows that some packages declare, jobs included. Mistakes
// are a [*MistakesError]. Generated packages are not read.
func Declarations(ctx context.Context, opts Options) ([]Declaration, error) {
	c, err := compile(ctx, opts)
	if err != nil {
		return nil, err
	}
	if len(c.flows) == 0 {
		return nil, c.noFlow()
	}
	declared := make([]Declaration, len(c.flows))
	for i, flow := range c.flows {
		declared[i] = Declaration{Flow: flow.Name, Version: flow.Version, Newer: newer(flow, c.flows), Definition: emit.Definition(flow)}
	}
	return declared, nil
}

// newer returns the name of a declaration of a newer version of a flow, "" if there is none.
func newer(flow *model.Flow, declared []*model.Flow) string {
	base, version := spec.VersionOf(flow.Slug)
	for _, other := range declared {
		if b, v := spec.VersionOf(other.Slug); b == base && v > version {
			return other.Name
		}
	}
	return ""
}
