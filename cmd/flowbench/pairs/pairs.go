// Package pairs judges figures of systems that took turns, so that what the host does
// besides falls on both of a pair.
package pairs

import (
	"fmt"
	"slices"
)

// Ratios are what one system needed for each unit of another's, pair by pair.
type Ratios []float64

// Of returns a[i]/b[i] of each pair.
func Of(a, b []float64) Ratios {
	r := make(Ratios, min(len(a), len(b)))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	return r
}

// Median returns the middle of some values, 0 of none.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// confidence is how sure [Interval] has to be.
const confidence = 0.9

// Interval returns two of the values between which the median of all that might be
// measured lies with a confidence of 90 %, whatever their distribution. Of fewer than
// five values it returns the least and the greatest, of which that cannot be said.
func Interval(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0, 0
	}
	// Each value is below the median with a chance of one half: the k-th is above it only
	// if fewer than k are below it.
	outside := func(k int) float64 {
		p, sum := 1.0, 0.0
		for range n {
			p /= 2
		}
		for i := range k {
			sum += p
			p *= float64(n-i) / float64(i+1)
		}
		return 2 * sum
	}
	k := 1
	for k+1 <= n/2 && outside(k+1) <= 1-confidence {
		k++
	}
	return sorted[k-1], sorted[n-k]
}

// Spread returns the interval beside the median, in words: "1.21 (1.15 to 1.30)".
func Spread(values []float64) string {
	low, high := Interval(values)
	return fmt.Sprintf("%.3g (%.3g to %.3g)", Median(values), low, high)
}

// A Goal is what a figure has to be.
type Goal struct {
	Name   string
	AtMost bool // else at least
	Target float64
}

// Judge returns met or missed, or undecided if the values are too few or too far apart to
// tell.
func (g Goal) Judge(values []float64) string {
	low, high := Interval(values)
	met, missed := low >= g.Target, high < g.Target
	if g.AtMost {
		met, missed = high <= g.Target, low > g.Target
	}
	switch {
	case len(values) < 5:
		return "undecided"
	case met:
		return "met"
	case missed:
		return "missed"
	}
	return "undecided"
}

// String returns the goal as it is printed: "jobs-vs-river >= 1.15".
func (g Goal) String() string {
	sign := ">="
	if g.AtMost {
		sign = "<="
	}
	return fmt.Sprintf("%s %s %g", g.Name, sign, g.Target)
}
