// Package words describes runs in words, the same everywhere.
package words

import "fmt"

// Progress returns how many steps completed, were skipped and gave up: "6/8, 1 skipped".
func Progress(completed, steps, skipped, gaveUp int) string {
	text := fmt.Sprintf("%d/%d", completed, steps)
	if skipped > 0 {
		text += fmt.Sprintf(", %d skipped", skipped)
	}
	if gaveUp > 0 {
		text += fmt.Sprintf(", %d gave up", gaveUp)
	}
	return text
}

// Element returns a step, and which element of it if it is a map: "pack[3]".
func Element(step string, index *int) string {
	if index == nil {
		return step
	}
	return fmt.Sprintf("%s[%d]", step, *index)
}
