package emit

import (
	"go/types"

	"github.com/flowc-dev/flowc/gen/internal/jsonform"
	"github.com/flowc-dev/flowc/gen/internal/model"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// result returns what the declared output of a flow is made of.
func result(flow *model.Flow) *spec.Result {
	from := func(key string) string {
		if flow.Job && key != spec.RunKey {
			return flow.Slug
		}
		return key
	}
	return made(flow.Result, from)
}

// made returns what a value is made of, from whose slugs from returns.
func made(source model.Source, from func(key string) string) *spec.Result {
	switch source.Kind {
	case model.Input:
		return &spec.Result{From: spec.RunKey}
	case model.Output:
		return &spec.Result{From: from(source.Key)}
	case model.Join:
		elem, _ := jsonform.Pointee(source.Type)
		s, ok := elem.Underlying().(*types.Struct)
		if !ok {
			return nil
		}
		result := &spec.Result{}
		for _, field := range source.Fields {
			for i := range s.NumFields() {
				v := s.Field(i)
				name, _, skip := jsonform.Tag(s.Tag(i))
				if v.Name() != field.Name || skip {
					continue
				}
				if name == "" && !jsonform.Merged(v) {
					name = v.Name()
				}
				result.Fields = append(result.Fields, spec.ResultField{Name: name, From: from(field.Key)})
			}
		}
		return result
	}
	return &spec.Result{}
}
