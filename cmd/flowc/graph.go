package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
	"github.com/flowc-dev/flowc/gen/nearest"
	"github.com/flowc-dev/flowc/runtime/dag"
)

func newGraph() *cobra.Command {
	var format, flow, dir, direction, buildTags string
	cmd := &cobra.Command{
		Use:   "graph [packages]",
		Short: "Draw declared flows",
		Long: `Graph draws the flows that some packages declare. Solid lines carry data, dashed
ones only order; a map is a stack of boxes (in Mermaid and DOT, it has a double border).`,
		Example: `  flowc graph --flow ProcessOrder ./shop
  flowc graph --format svg --dir docs/flows ./...`,
		RunE: func(cmd *cobra.Command, args []string) error {
			write, known := formats[format]
			if !known {
				return fmt.Errorf("flowc: no format %q; use mermaid, dot or svg", format)
			}
			if _, known := directions[direction]; !known && direction != "auto" {
				return fmt.Errorf("flowc: no direction %q; use auto, down or right", direction)
			}
			draw := func(w io.Writer, g dag.Graph) error {
				d, known := directions[direction]
				if !known {
					var err error
					if d, err = suitable(g); err != nil {
						return err
					}
				}
				return write(w, g, d)
			}
			p := startProgress(cmd.ErrOrStderr(), "reading declarations")
			graphs, err := gen.Graphs(cmd.Context(), gen.Options{Patterns: args, Tags: buildTags})
			p.done()
			if err != nil {
				return err
			}
			if graphs, err = choose(graphs, flow); err != nil {
				return err
			}
			if dir != "" {
				return writeGraphs(cmd, graphs, draw, dir, format)
			}
			if format == "svg" && len(graphs) > 1 {
				return errors.New("flowc: one svg holds one flow; choose it with --flow, or write a file for each with --dir")
			}
			for _, g := range graphs {
				if err := draw(cmd.OutOrStdout(), g.Drawing); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "mermaid", "mermaid, dot or svg")
	cmd.Flags().StringVar(&direction, "direction", "auto", "where edges lead: down, right, or whichever suits the flow")
	cmd.Flags().StringVar(&flow, "flow", "", "draw only the flow of this name or slug")
	tagsVar(cmd, &buildTags)
	cmd.Flags().StringVar(&dir, "dir", "", "write a file for each flow into this folder")
	return cmd
}

var formats = map[string]func(io.Writer, dag.Graph, dag.Direction) error{
	"mermaid": func(w io.Writer, g dag.Graph, d dag.Direction) error { return g.WriteMermaid(w, d) },
	"dot":     func(w io.Writer, g dag.Graph, d dag.Direction) error { return g.WriteDOT(w, d) },
	"svg":     writeSVG,
}

var directions = map[string]dag.Direction{"down": dag.Down, "right": dag.Right}

// suitable returns the direction in which a graph is easy to read: down, unless so many
// steps are side by side that the picture would be wider than a page.
func suitable(g dag.Graph) (dag.Direction, error) {
	const page = 1200
	layout, err := dag.Arrange(g, dag.Options{Plain: true})
	if err == nil && layout.Width > page && layout.Width > 2*layout.Height {
		return dag.Right, nil
	}
	return dag.Down, err
}

func writeSVG(w io.Writer, g dag.Graph, direction dag.Direction) error {
	layout, err := dag.Arrange(g, dag.Options{Plain: true, Direction: direction})
	if err != nil {
		return err
	}
	return layout.WriteSVG(w, dag.SVGOptions{Style: true, Heading: true})
}

// extensions are those of files, where they are not the name of the format.
var extensions = map[string]string{"mermaid": "mmd"}

func choose(graphs []gen.Graph, flow string) ([]gen.Graph, error) {
	if flow == "" {
		return graphs, nil
	}
	var names, slugs []string
	for _, g := range graphs {
		if g.Flow == flow || g.Slug == flow {
			return []gen.Graph{g}, nil
		}
		names, slugs = append(names, g.Flow), append(slugs, g.Slug)
	}
	fix := "choose one of " + strings.Join(names, ", ")
	if near := nearest.Name(flow, append(names, slugs...)); near != "" {
		fix = "did you mean " + near + "?"
	}
	return nil, fmt.Errorf("flowc: no flow %s is declared\n\tfix: %s", flow, fix)
}

func writeGraphs(cmd *cobra.Command, graphs []gen.Graph, draw func(io.Writer, dag.Graph) error, dir, format string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("flowc: %w", err)
	}
	extension := format
	if e, other := extensions[format]; other {
		extension = e
	}
	for _, g := range graphs {
		path := filepath.Join(dir, g.Slug+"."+extension)
		var drawing bytes.Buffer
		if err := draw(&drawing, g.Drawing); err != nil {
			return err
		}
		if err := os.WriteFile(path, drawing.Bytes(), 0o644); err != nil {
			return fmt.Errorf("flowc: %w", err)
		}
		fmt.Fprintln(cmd.OutOrStdout(), "wrote", path)
	}
	return nil
}
