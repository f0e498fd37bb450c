package jsonform

import (
	"go/types"
	"strings"
)

// isText reports whether JSON writes a type as a text without any method.
func isText(t types.Type) bool {
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsString != 0
}

// unmarshaler returns the method by which a type reads its own JSON, or "".
func unmarshaler(t types.Type) string {
	for _, method := range []string{"UnmarshalJSON", "UnmarshalText"} {
		if has(address(t), method) {
			return method
		}
	}
	return ""
}

// reads is the method that reads what another has written.
var reads = map[string]string{"MarshalJSON": "UnmarshalJSON", "MarshalText": "UnmarshalText"}

// Marshaler returns the method by which a type writes its own JSON, or "".
func Marshaler(t types.Type, addressable bool) string {
	if addressable {
		t = address(t)
	}
	for _, method := range []string{"MarshalJSON", "MarshalText"} {
		if has(t, method) {
			return method
		}
	}
	return ""
}

// address returns the type of a pointer to a T, or T if that is a pointer.
func address(t types.Type) types.Type {
	if _, pointer := t.Underlying().(*types.Pointer); pointer {
		return t
	}
	return types.NewPointer(t)
}

// has reports whether a type has one of the four methods of encoding.
func has(t types.Type, method string) bool {
	obj, index, _ := types.LookupFieldOrMethod(t, false, nil, method)
	f, ok := obj.(*types.Func)
	if !ok || index == nil {
		return false
	}
	sig := f.Signature()
	if strings.HasPrefix(method, "Unmarshal") {
		return sig.Params().Len() == 1 && IsBytes(sig.Params().At(0).Type()) && sig.Results().Len() == 1
	}
	return sig.Params().Len() == 0 && sig.Results().Len() == 2 && IsBytes(sig.Results().At(0).Type())
}

// Pointee returns what a pointer points to, or the type itself.
func Pointee(t types.Type) (elem types.Type, pointer bool) {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		return p.Elem(), true
	}
	return t, false
}

// IsBytes reports whether JSON writes a type as a text of base64.
func IsBytes(t types.Type) bool {
	list, ok := t.Underlying().(*types.Slice)
	if !ok {
		return false
	}
	basic, ok := list.Elem().Underlying().(*types.Basic)
	return ok && basic.Kind() == types.Byte
}
