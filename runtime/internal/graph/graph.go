// Package graph sorts directed graphs whose nodes are numbers.
package graph

import (
	"container/heap"
	"slices"
	"sort"
)

// Sort returns the nodes in an order in which each comes after those before it, the
// lowest number first where that leaves a choice. If there is none, it returns a cycle
// instead: each of its nodes has the next before it, and the last the first, which is
// the lowest.
func Sort(before [][]int) (order, cycle []int) {
	after := make([][]int, len(before))
	waits := make([]int, len(before))
	ready := &numbers{}
	for v, list := range before {
		for _, u := range list {
			after[u] = append(after[u], v)
		}
		if waits[v] = len(list); waits[v] == 0 {
			ready.IntSlice = append(ready.IntSlice, v) // in order, so it is a heap
		}
	}
	for ready.Len() > 0 {
		v := heap.Pop(ready).(int)
		order = append(order, v)
		for _, w := range after[v] {
			if waits[w]--; waits[w] == 0 {
				heap.Push(ready, w)
			}
		}
	}
	if len(order) == len(before) {
		return order, nil
	}
	return nil, findCycle(before, waits)
}

// findCycle walks back from a node that waits: it comes to one where it has been.
func findCycle(before [][]int, waits []int) []int {
	v := slices.IndexFunc(waits, func(n int) bool { return n > 0 })
	var path []int
	for {
		if i := slices.Index(path, v); i >= 0 {
			path = path[i:]
			break
		}
		path = append(path, v)
		next := slices.IndexFunc(before[v], func(u int) bool { return waits[u] > 0 })
		v = before[v][next]
	}
	lowest := slices.Index(path, slices.Min(path))
	return append(slices.Clone(path[lowest:]), path[:lowest]...)
}

// numbers is a heap of numbers.
type numbers struct{ sort.IntSlice }

func (n *numbers) Push(v any) { n.IntSlice = append(n.IntSlice, v.(int)) }

func (n *numbers) Pop() any {
	last := len(n.IntSlice) - 1
	v := n.IntSlice[last]
	n.IntSlice = n.IntSlice[:last]
	return v
}
