// Package zoo declares flows that take and give types of every kind.
package zoo

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/dsl"
)

// Zoo has a step for each kind of type.
type Zoo struct {
	dsl.Flow[map[string]any, Cage]

	Basic     dsl.Step[map[string]any, Basics]
	Generic   dsl.Step[dsl.None, Page[Node]]
	Alias     dsl.Step[dsl.None, Names]
	Hidden    dsl.Step[dsl.None, hidden]
	Raw       dsl.Step[dsl.None, json.RawMessage]
	Any       dsl.Step[dsl.None, any]
	Foreign   dsl.Step[dsl.None, *uuid.UUID]
	Address   dsl.Step[dsl.None, netip.Addr]
	When      dsl.Step[dsl.None, time.Time]
	Anonymous dsl.Step[dsl.None, struct {
		A, B int `json:",omitempty"`
		Page[string]
		F func(a int, rest ...string) (<-chan bool, error) `json:"-"`
		I interface{ M() }                                 `json:"-"`
		C chan (<-chan int)                                `json:"-"`
		D chan<- int                                       `json:"-"`
	}]
	Array dsl.Step[dsl.None, [3]map[Key]*Node]
	Big   dsl.Step[dsl.None, *big.Int]
	Bytes dsl.Step[dsl.None, []byte]
	Root  dsl.Step[dsl.None, *Node]
}

// Cage holds some of them.
type Cage struct {
	*Node   `from:"Root"`
	Basic   Basics
	Generic Page[Node]
	Alias   []string
	Array   [3]map[Key]*Node
}

type Basics struct {
	Bool    bool
	Rune    rune
	Byte    byte
	Uintptr uintptr
	Float   float32
	Text    string
	Nested  struct{ Deep []*Basics }
}

type Page[T any] struct{ Items []T }

type Node struct {
	Left, Right *Node
	Value       any
}

type Names = []string

type hidden = map[string]Basics

// Key is a key with a text of its own.
type Key struct{ A, B byte }

func (k Key) MarshalText() ([]byte, error) { return []byte{k.A, k.B}, nil }

func (k *Key) UnmarshalText(text []byte) error {
	if len(text) != 2 {
		return errors.New("a key has two letters")
	}
	k.A, k.B = text[0], text[1]
	return nil
}
