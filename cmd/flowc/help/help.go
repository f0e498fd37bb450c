// Package help has the pages of `flowc help`, for a program that mounts a dashboard:
//
//	d, err := dashboard.New(pool, dashboard.Config{Help: help.Pages})
package help

import "embed"

// Pages are Markdown, one file for each topic.
//
//go:embed *.md
var Pages embed.FS
