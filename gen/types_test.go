package gen

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// other is a package whose types declarations take.
const other = `package other

import "time"

type Page[T any] struct{ Items []T }

type Pair[K comparable, V any] struct {
	Key   K
	Value V
}

type List[T any] = []T

type Pages[T any] = Page[Page[T]]

type Stamp = time.Time

type Pointer *int

type Mode string

const Fast Mode = "fast"
`

// TestTypes declares flows over types of every kind that the golden zoo does not
// have, and written in every way that Go has for them.
func TestTypes(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"generics of another package": `
import (
	"github.com/flowc-dev/flowc/dsl"
	"example.com/shop/other"
)

type Node struct{ Next *Node }

type F struct {
	dsl.Flow[other.Page[Node], other.Pair[string, []other.Page[Node]]]

	A dsl.Step[other.Page[Node], other.Pair[string, []other.Page[Node]]]
	B dsl.Step[other.Pair[string, []other.Page[Node]], other.Pages[int]]
	C dsl.Step[other.Pages[int], other.List[*Node]]
	D dsl.Map[*Node, other.Stamp]
	E dsl.Step[[]other.Stamp, other.Pair[other.Mode, map[other.Mode]other.Pointer]]
}
`,
		"aliases of the package": `
import (
	"time"

	"github.com/flowc-dev/flowc/dsl"
	"example.com/shop/other"
)

type (
	Local[T any] = other.Page[T]
	hidden[T any] = other.Pair[string, T]
	Time = time.Time
	names []string
)

type F struct {
	dsl.Flow[Local[Time], hidden[int]]

	A dsl.Step[Local[time.Time], hidden[int]]
}
`,
		"aliases beside what they stand for": `
import (
	"unsafe"

	"github.com/flowc-dev/flowc/dsl"
	"example.com/shop/other"
)

type secret struct{ N int }

var _ dsl.Step[int, secret]

var _ []secret

type Public = secret

type local = Public

type F struct {
	dsl.Flow[int, Result]

	A dsl.Step[int, Public]
	B dsl.Step[Public, struct{ Stamp other.Stamp; P unsafe.Pointer ` + "`json:\"-\"`" + ` }]
	C dsl.Step[local, []local] ` + "`from:\"A\"`" + `
}

type Result struct {
	Public
	C []Public
}
`,
		"dsl under another name": `
import d "github.com/flowc-dev/flowc/dsl"

type F struct {
	d.Flow[d.None, int]

	A d.Step[d.None, []string]
	B d.Map[string, int]
	C d.Step[[]int, int]
}
`,
		"dsl without a name": `
import . "github.com/flowc-dev/flowc/dsl"

type F struct {
	Flow[int, string]

	A Step[int, string]
}
`,
		"inputs that are lists": `
import "github.com/flowc-dev/flowc/dsl"

type Item struct{ N int }

type F struct {
	dsl.Flow[[]Item, []string] ` + "`from:\"A\"`" + `

	A, B dsl.Map[Item, string]
	C    dsl.Step[[]Item, [2][]string]
}

type J struct{ dsl.Job[[]string, [3]int] }
`,
		"inputs that are pointers and maps": `
import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/dsl"
)

type (
	A struct{ dsl.Job[*time.Time, map[string]any] }
	B struct{ dsl.Job[json.RawMessage, any] }
	C struct{ dsl.Job[any, json.RawMessage] }
	D struct{ dsl.Job[uuid.UUID, **int] }
	E struct{ dsl.Job[map[uuid.UUID]time.Duration, []map[int8][]byte] }
	F struct{ dsl.Job[bool, rune] }
	G struct{ dsl.Job[[]byte, byte] }
	H struct{ dsl.Job[struct { A int; B *struct{ C []string } ` + "`json:\"b,omitempty\"`" + ` }, struct{}] }
)
`,
		"structs that embed": `
import (
	"github.com/flowc-dev/flowc/dsl"
	"example.com/shop/other"
)

type base struct{ ID string }

type Inner struct {
	base
	*other.Page[string]
	Mode other.Mode
}

type F struct {
	dsl.Flow[Inner, Inner]

	A dsl.Step[Inner, other.Page[Inner]] ` + "`if:\"Input.ID == 'x' && Input.Mode == 'fast'\"`" + `
	B dsl.Step[Both, dsl.None]
}

type Both struct {
	Inner
	*other.Page[Inner] ` + "`from:\"A\"`" + `
}
`,
		"a join without a name": `
import (
	"github.com/flowc-dev/flowc/dsl"
	"example.com/shop/other"
)

type F struct {
	dsl.Flow[int, struct {
		Input int
		A     other.Page[string]
	}]

	A dsl.Step[int, other.Page[string]]
	B dsl.Step[struct {
		A     other.Page[string] ` + "`json:\"whatever\"`" + `
		Given int                ` + "`from:\"Input\"`" + `
	}, dsl.None]
}
`,
		"parentheses and comments": `
import "github.com/flowc-dev/flowc/dsl"

type F struct {
	dsl.Flow[int, ( /* a text */ string)]

	A (dsl.Step[int, string]) // A has its comment behind it.
}
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sources := compiles(t, map[string]string{"other/other.go": other, "flows/flows.go": "package flows\n" + source})
			require.NotContains(t, sources, "hidden[")
		})
	}
}
