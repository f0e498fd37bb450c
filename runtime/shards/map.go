package shards

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"reflect"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// A State says whether a shard gets new runs.
type State = ops.ShardState

// The states of a shard.
const (
	// Active shards get new runs.
	Active = ops.ShardActive
	// Draining shards get none. Their runs go on, and are read and controlled.
	Draining = ops.ShardDraining
)

// An entry is a shard in a version of the map.
type entry struct {
	Number int    `json:"number"` // from 1 to maxNumber; never used for another database
	Name   string `json:"name"`
	State  State  `json:"state"`
}

const maxNumber = 1<<16 - 1

// A version is one version of the map.
type version []entry

// active returns the numbers of the shards that get new runs.
func (v version) active() (numbers []int) {
	for _, e := range v {
		if e.State == Active {
			numbers = append(numbers, e.Number)
		}
	}
	return numbers
}

// byNumber returns the shards in the order of their numbers.
func (v version) byNumber() version {
	return slices.SortedFunc(slices.Values(v), func(a, b entry) int { return a.Number - b.Number })
}

func (v version) named(name string) (entry, bool) {
	i := slices.IndexFunc(v, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return entry{}, false
	}
	return v[i], true
}

func (v version) numbered(number int) (entry, bool) {
	i := slices.IndexFunc(v, func(e entry) bool { return e.Number == number })
	if i < 0 {
		return entry{}, false
	}
	return v[i], true
}

// A shardMap is all versions of a map; the last is in force. The others tell where a key
// may have been used before. It does not change.
type shardMap struct {
	id       uuid.UUID
	versions []version

	version
	activeNow []int
	earlier   [][]int // the active shards of earlier versions, the newest first
}

func newMap(id uuid.UUID, versions []version) *shardMap {
	m := &shardMap{id: id, versions: versions}
	if len(versions) == 0 {
		return m
	}
	m.version = versions[len(versions)-1]
	m.activeNow = m.active()
	for _, v := range slices.Backward(versions[:len(versions)-1]) {
		active := v.active()
		if !slices.ContainsFunc(m.earlier, func(a []int) bool { return slices.Equal(a, active) }) {
			m.earlier = append(m.earlier, active)
		}
	}
	return m
}

// with returns the map with more versions.
func (m *shardMap) with(more ...version) *shardMap {
	return newMap(m.id, append(slices.Clone(m.versions), more...))
}

// continues reports whether the map is another, or a later state of it.
func (m *shardMap) continues(other *shardMap) bool {
	return m.id == other.id && len(m.versions) >= len(other.versions) &&
		reflect.DeepEqual(m.versions[:len(other.versions)], other.versions)
}

// had reports whether a shard had a name in some version: that with a number, or any for 0.
func (m *shardMap) had(number int, name string) bool {
	return slices.ContainsFunc(m.versions, func(v version) bool {
		e, ok := v.named(name)
		return ok && (number == 0 || e.Number == number)
	})
}

// owner returns the shard on which a run with an id starts.
func (m *shardMap) owner(id uuid.UUID) int { return owner(id, m.activeNow) }

// former returns the other shards on which a run with an id may have started earlier, the
// latest first.
func (m *shardMap) former(id uuid.UUID) (numbers []int) {
	now := m.owner(id)
	add := func(n int) {
		if _, there := m.numbered(n); there && n != now && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	add(numberIn(id)) // which may be draining
	for _, active := range m.earlier {
		add(owner(id, active))
	}
	return numbers
}

// order returns all shards in the order in which to look for a run.
func (m *shardMap) order(id uuid.UUID) []int {
	numbers := append([]int{m.owner(id)}, m.former(id)...)
	if n := numberIn(id); slices.Contains(numbers, n) {
		numbers = append([]int{n}, slices.DeleteFunc(numbers, func(other int) bool { return other == n })...)
	}
	for _, e := range m.version {
		if !slices.Contains(numbers, e.Number) {
			numbers = append(numbers, e.Number)
		}
	}
	return slices.DeleteFunc(numbers, func(n int) bool { return n == 0 })
}

// owner returns the shard that a run with an id belongs to, if some are active: the one that
// the id names, else the one that its hash gives. 0 means that none is active.
func owner(id uuid.UUID, active []int) int {
	if n := numberIn(id); slices.Contains(active, n) {
		return n
	}
	return rendezvous(id.String(), active)
}

// rendezvous returns the shard whose hash with a key is the highest. When a shard is added,
// only keys that it gets move; when one is drained, only those it had. The engine computes
// it in the same way for schedules (flowc.rendezvous).
func rendezvous(key string, numbers []int) (number int) {
	var highest [sha256.Size]byte
	text := append([]byte(key), '/')
	for _, n := range numbers {
		hash := sha256.Sum256(strconv.AppendInt(text, int64(n), 10))
		if number == 0 || bytes.Compare(hash[:], highest[:]) > 0 {
			number, highest = n, hash
		}
	}
	return number
}

// newID returns a random id that names a shard in its last 16 bits.
func newID(number int) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	binary.BigEndian.PutUint16(id[14:], uint16(number))
	return id, err
}

// keyedID returns the id of a run that starts with a key on a shard of the caller's choice.
// Like those of [newID] it names the shard, and so is another one on each of them.
func keyedID(id uuid.UUID, number int) uuid.UUID {
	id[6] = id[6]&0x0f | 8<<4 // version 8: of the application
	binary.BigEndian.PutUint16(id[14:], uint16(number))
	return id
}

// numberIn returns the number of the shard that an id names, 0 if it cannot name one.
func numberIn(id uuid.UUID) int {
	if v := id.Version(); v != 7 && v != 8 {
		return 0
	}
	return int(binary.BigEndian.Uint16(id[14:]))
}
