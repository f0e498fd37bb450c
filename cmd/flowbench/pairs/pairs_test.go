package pairs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInterval(t *testing.T) {
	for name, c := range map[string]struct {
		values    []float64
		low, high float64
	}{
		"none":                    {nil, 0, 0},
		"three":                   {[]float64{3, 1, 2}, 1, 3},
		"five":                    {[]float64{5, 1, 2, 4, 3}, 1, 5}, // 94 %
		"seven":                   {[]float64{7, 1, 2, 4, 3, 5, 6}, 1, 7},
		"eight":                   {[]float64{8, 7, 1, 2, 4, 3, 5, 6}, 2, 7}, // 93 %
		"an outlier among eleven": {[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1000}, 3, 9},
	} {
		t.Run(name, func(t *testing.T) {
			low, high := Interval(c.values)
			require.Equal(t, []float64{c.low, c.high}, []float64{low, high})
		})
	}
}

func TestJudge(t *testing.T) {
	least, most := Goal{"a", false, 1.1}, Goal{"b", true, 1.1}
	for name, c := range map[string]struct {
		values          []float64
		atLeast, atMost string
	}{
		"above":                  {[]float64{1.2, 1.3, 1.2, 1.25, 1.4}, "met", "missed"},
		"below":                  {[]float64{1.0, 0.9, 1.05, 1.0, 0.8}, "missed", "met"},
		"around":                 {[]float64{1.0, 1.3, 1.05, 1.2, 1.4}, "undecided", "undecided"},
		"too few":                {[]float64{5, 5}, "undecided", "undecided"},
		"one of nine is far off": {[]float64{1.2, 1.2, 1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 0.2}, "met", "missed"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.atLeast, least.Judge(c.values))
			require.Equal(t, c.atMost, most.Judge(c.values))
		})
	}
	require.Equal(t, "a >= 1.1", least.String())
}
