package spec

import (
	"regexp"
	"strconv"
)

var versioned = regexp.MustCompile(`^(.+)_v([2-9]|[1-9][0-9]{1,8})$`)

// VersionOf splits the slug of a flow into the part that its versions share and the version
// number of the tag version. report_v2 is version 2 of report, and report is version 1.
func VersionOf(slug string) (base string, version int) {
	if m := versioned.FindStringSubmatch(slug); m != nil {
		if n, err := strconv.Atoi(m[2]); err == nil {
			return m[1], n
		}
	}
	return slug, 1
}
