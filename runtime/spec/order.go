package spec

import "github.com/flowc-dev/flowc/runtime/internal/graph"

// Order returns the steps in topological order, and otherwise in the given order. If steps
// wait for each other, it returns the slugs of such a cycle instead, each waiting for the
// next and the last for the first. It ignores steps that wait for themselves or for steps
// that do not exist.
func (f Flow) Order() (steps []Step, cycle []string) {
	order, around := graph.Sort(f.before())
	for _, i := range around {
		cycle = append(cycle, f.Steps[i].Slug)
	}
	for _, i := range order {
		steps = append(steps, f.Steps[i])
	}
	return steps, cycle
}

// before returns, for each step, the indexes of the steps that it waits for.
func (f Flow) before() [][]int {
	places := map[string]int{}
	for i, s := range f.Steps {
		if _, twice := places[s.Slug]; !twice {
			places[s.Slug] = i
		}
	}
	before := make([][]int, len(f.Steps))
	for i, s := range f.Steps {
		for _, dep := range s.Deps {
			if j, known := places[dep]; known && j != i {
				before[i] = append(before[i], j)
			}
		}
	}
	return before
}

// LongChain returns the slugs of a chain of more than [MaxChain] steps that may resolve
// without a task, each waiting for the one before, up to the first that is too many; nil if
// there is none.
func (f Flow) LongChain() (slugs []string) {
	before := f.before()
	order, _ := graph.Sort(before)
	length := make([]int, len(f.Steps)) // of the row that ends with a step
	last := make([]int, len(f.Steps))   // the step before it in that row
	for _, i := range order {
		s := f.Steps[i]
		if s.If == nil && s.IfNot == nil && s.Type != TypeMap {
			continue
		}
		length[i] = 1
		for _, j := range before[i] {
			if length[j] >= length[i] {
				length[i], last[i] = length[j]+1, j
			}
		}
		if length[i] > MaxChain {
			slugs = make([]string, length[i])
			for n := length[i]; n > 0; n-- {
				slugs[n-1] = f.Steps[i].Slug
				i = last[i]
			}
			return slugs
		}
	}
	return nil
}
