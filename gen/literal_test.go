package gen

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/gen/internal/emit"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// TestReadDefinition holds that the definition in a generated file is read as it was
// written.
func TestReadDefinition(t *testing.T) {
	t.Parallel()
	_, flows, sources := generate(t, goldenFiles(t))
	fields := map[string]bool{}
	for _, flow := range flows {
		def, ok := readDefinition([]byte(sources[flow.Path()]))
		require.True(t, ok, flow.Name)
		want := emit.Definition(flow)
		require.Equal(t, want.Steps, def.Steps)
		written, err := want.Payload()
		require.NoError(t, err)
		read, err := def.Payload()
		require.NoError(t, err)
		require.Equal(t, string(written), string(read))
		note := func(v reflect.Value) {
			for i := range v.NumField() {
				if !v.Field(i).IsZero() {
					fields[v.Type().Name()+"."+v.Type().Field(i).Name] = true
				}
			}
		}
		note(reflect.ValueOf(def))
		for _, s := range def.Steps {
			note(reflect.ValueOf(s))
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[spec.Flow](), reflect.TypeFor[spec.Step]()} {
		for i := range of.NumField() {
			if name := of.Name() + "." + of.Field(i).Name; name != "Flow.Conditions" { // which are not stored
				require.True(t, fields[name], "no golden package has %s", name)
			}
		}
	}
}

// TestReadDefinitionOfOther holds that files which are not as they were generated are
// not read.
func TestReadDefinitionOfOther(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"no Go":            "{",
		"nothing":          "package a",
		"another value":    "package a\n\nfunc Definition() spec.Flow { return 3 }",
		"itself":           "package a\n\nfunc Definition() spec.Flow { return Definition }",
		"a slug of itself": "package a\n\nconst Slug = Slug\n\nfunc Definition() spec.Flow { return spec.Flow{Slug: Slug} }",
		"numbers":          "package a\n\nconst n = n * n\n\nfunc Definition() spec.Flow { return spec.Flow{Slug: \"a\", MaxAttempts: n} }",
		"a call":           "package a\n\nfunc Definition() spec.Flow { return spec.Flow{Slug: slug()} }",
		"an unknown field": "package a\n\nfunc Definition() spec.Flow { return spec.Flow{Slug: \"a\", Colour: 3} }",
		"no keys":          "package a\n\nfunc Definition() spec.Flow { return spec.Flow{\"a\"} }",
		"the old form":     "package a\n\nfunc Definition() spec.Flow { return runtime.Definition{Slug: \"a\", FlowOptions: runtime.FlowOptions{}} }",
		"a text for a map": "package a\n\nfunc Definition() spec.Flow { return spec.Flow{Slug: \"a\", Forms: &spec.Forms{Steps: \"x\"}} }",
		"a unit":           "package a\n\nfunc Definition() spec.Flow { return spec.Flow{Slug: time.Second} }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, ok := readDefinition([]byte(source))
			require.False(t, ok)
		})
	}
}
