package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
)

// Heights in the chart, in pixels. Widths are in percent, so that text keeps its
// form at any width.
const (
	chartHigh   = 190
	chartTop    = 18
	chartBottom = 166
)

// chart draws runs over time: bars of those that ended, and a line of those that started.
func chart(points []ops.ThroughputPoint, stretch time.Duration) template.HTML {
	most, started, completed, failed := 0, 0, 0, 0
	for _, p := range points {
		most = max(most, p.Started, p.Completed+p.Failed)
		started, completed, failed = started+p.Started, completed+p.Completed, failed+p.Failed
	}
	top := niceTop(most)
	y := func(n int) float64 { return chartBottom - (chartBottom-chartTop)*float64(n)/float64(top) }
	x := func(i int) float64 { return 100 * float64(i) / float64(max(len(points), 1)) }

	var b strings.Builder
	fmt.Fprintf(&b, `<div class="chart"><svg width="100%%" height="%d" aria-hidden="true">`, chartHigh)
	for _, n := range gridLines(top) {
		fmt.Fprintf(&b, `<text text-anchor="end" x="100%%" y="%.1f">%s</text>`, y(n)+4, count(n))
	}
	fmt.Fprintf(&b, `</svg><svg width="100%%" height="%d" role="img" aria-label="%s started, %s completed, %s failed">`,
		chartHigh, count(started), count(completed), count(failed))
	for _, n := range gridLines(top) {
		fmt.Fprintf(&b, `<line class="grid" x1="0" x2="100%%" y1="%.1f" y2="%.1f"/>`, y(n), y(n))
	}
	gap := min(0.25, 15/float64(max(len(points), 1)))
	for i, p := range points {
		left, width := x(i)+gap/2, x(1)-gap
		if p.Completed > 0 {
			fmt.Fprintf(&b, `<rect class="completed" x="%.3f%%" width="%.3f%%" y="%.1f" height="%.1f"/>`, left, width, y(p.Completed), chartBottom-y(p.Completed))
		}
		if p.Failed > 0 {
			fmt.Fprintf(&b, `<rect class="failed" x="%.3f%%" width="%.3f%%" y="%.1f" height="%.1f"/>`,
				left, width, y(p.Completed+p.Failed), max(y(p.Completed)-y(p.Completed+p.Failed), 2))
		}
	}
	for i, p := range points {
		fmt.Fprintf(&b, `<line class="began" x1="%.3f%%" x2="%.3f%%" y1="%.1f" y2="%.1f"/>`, x(i), x(i+1), y(p.Started), y(p.Started))
		if i > 0 && p.Started != points[i-1].Started {
			fmt.Fprintf(&b, `<line class="began" x1="%.3f%%" x2="%.3f%%" y1="%.1f" y2="%.1f"/>`, x(i), x(i), y(points[i-1].Started), y(p.Started))
		}
	}
	for i, p := range points {
		fmt.Fprintf(&b, `<rect class="slot" x="%.3f%%" width="%.3f%%" y="0" height="%d"><title data-clock="%s">%s: %s started, %s completed, %s failed</title></rect>`,
			x(i), x(1), chartBottom, stamp(p.From), moment(p.From), count(p.Started), count(p.Completed), count(p.Failed))
	}
	for _, i := range labelled(points, stretch) {
		anchor := "middle"
		if x(i) < 4 {
			anchor = "start"
		}
		form, text := "time", points[i].From.UTC().Format("15:04")
		if stretch >= time.Hour {
			form, text = "day", points[i].From.UTC().Format("2 Jan")
		}
		fmt.Fprintf(&b, `<text class="clock" text-anchor="%s" x="%.3f%%" y="%d" data-clock="%s" data-form="%s">%s</text>`,
			anchor, x(i), chartHigh-6, stamp(points[i].From), form, text)
	}
	b.WriteString(`</svg></div>`)
	return template.HTML(b.String())
}

// niceTop returns a round number for the top of a chart.
func niceTop(most int) int {
	if most <= 4 {
		return 4
	}
	unit := int(math.Pow(10, math.Floor(math.Log10(float64(most)))))
	for _, n := range []int{1, 2, 4, 6, 8, 10} {
		if n*unit >= most {
			return n * unit
		}
	}
	return 10 * unit
}

func gridLines(top int) []int { return []int{0, top / 2, top} }

// labelled returns the points whose time is printed below them: about six, at round
// times.
func labelled(points []ops.ThroughputPoint, stretch time.Duration) []int {
	total := stretch * time.Duration(len(points))
	every := niceStep(total / 6)
	var all []int
	for i, p := range points {
		if p.From.Truncate(every).Equal(p.From) && i < len(points)-1 {
			all = append(all, i)
		}
	}
	return all
}
