// Package clash declares flows whose names and packages are those that
// generated code uses.
package clash

import (
	"github.com/flowc-dev/flowc/dsl"
	"github.com/flowc-dev/flowc/testdata/golden/clash/flow"
	"github.com/flowc-dev/flowc/testdata/golden/clash/in"
	"github.com/flowc-dev/flowc/testdata/golden/clash/json"
	"github.com/flowc-dev/flowc/testdata/golden/clash/runtime"
)

// Flow is called like its head.
type Flow struct {
	dsl.Flow[in.Value, Output] `package:"serve"`

	Handlers dsl.Step[in.Value, flow.Value]
	Serve    dsl.Step[flow.Value, runtime.Value] `if:"Handlers.A == 1"`
	URL      dsl.Step[URLInput, json.Value]
	Type     dsl.Step[TypeInput, dsl.None]
	Output   dsl.Step[OutputInput, dsl.None]
}

type Output struct {
	Handlers flow.Value
	URL      json.Value
}

type URLInput struct {
	Input in.Value
	Serve *runtime.Value
}

type TypeInput struct {
	URL json.Value
}

type OutputInput struct {
	Input in.Value
	Flow  flow.Value
}

// Job is called like its head.
type Job struct {
	dsl.Job[in.Value, runtime.Value]
}

// Context is called like a package that its own package imports.
type Context struct {
	dsl.Job[flow.Value, json.Value]
}
