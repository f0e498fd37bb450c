package machine

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/flowc-dev/flowc/runtime/spec"
)

// UniqueKey returns what two inputs have in common that make runs alike: the values that the
// paths lead to, and the paths.
func UniqueKey(u *spec.Unique, input json.RawMessage) string {
	var pairs []any
	for _, p := range u.By {
		v := decode(follow(input, p[1:]))
		if n, ok := v.(json.Number); ok {
			if exact, ok := new(big.Rat).SetString(n.String()); ok {
				v = []any{"number", exact.RatString()}
			}
		}
		pairs = append(pairs, []any{p, v})
	}
	return string(encode(pairs))
}

// UniqueWords returns the values by which runs are alike in words.
func UniqueWords(u *spec.Unique, input json.RawMessage) string {
	if u == nil {
		return ""
	}
	var words []string
	for _, p := range u.By {
		var text string
		switch v := decode(follow(input, p[1:])).(type) {
		case string:
			text = v
		case json.Number:
			text = v.String()
		default:
			text = string(encode(v))
		}
		if len(p) > 1 {
			text = fmt.Sprintf("%s=%s", p[1:], text)
		}
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}
