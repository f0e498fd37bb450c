package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowc-dev/flowc/gen"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// tagsVar adds the flag for build tags to a command that reads declarations.
func tagsVar(cmd *cobra.Command, tags *string) {
	cmd.Flags().StringVar(tags, "tags", "", "build tags, with commas between them, as for the go command")
}

// readFlows reads the flows that arguments name: packages of declarations,
// files of JSON, or standard input for a dash.
func readFlows(cmd *cobra.Command, args []string, tags string) ([]gen.Declaration, error) {
	var flows []gen.Declaration
	var packages []string
	for _, arg := range args {
		switch {
		case arg == "-":
			list, err := readDefinitions(cmd.InOrStdin(), "standard input")
			if err != nil {
				return nil, err
			}
			flows = append(flows, list...)
		case strings.HasSuffix(arg, ".json"):
			list, err := readDefinitionFile(arg)
			if err != nil {
				return nil, err
			}
			flows = append(flows, list...)
		default:
			packages = append(packages, arg)
		}
	}
	if len(packages) > 0 || len(args) == 0 {
		p := startProgress(cmd.ErrOrStderr(), "reading declarations")
		declared, err := gen.Declarations(cmd.Context(), gen.Options{Patterns: packages, Tags: tags})
		p.done()
		if err != nil {
			return nil, err
		}
		flows = append(flows, declared...)
	}
	seen := map[string]bool{}
	for _, f := range flows {
		if seen[f.Definition.Slug] {
			return nil, fmt.Errorf("flowc: the flow %s is given twice", f.Definition.Slug)
		}
		seen[f.Definition.Slug] = true
	}
	return flows, nil
}

func readDefinitionFile(path string) ([]gen.Declaration, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("flowc: %w", err)
	}
	defer f.Close()
	return readDefinitions(f, path)
}

// readDefinitions reads flows, one document of JSON after the other.
func readDefinitions(r io.Reader, name string) ([]gen.Declaration, error) {
	var flows []gen.Declaration
	docs := json.NewDecoder(r)
	for {
		var doc json.RawMessage
		if err := docs.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("flowc: %s: %w", name, err)
		}
		def, err := spec.ParseDocument(doc)
		if err != nil {
			return nil, fmt.Errorf("%w\n\tin %s\n\tfix: write it as `flowc flows show SLUG --json` does", err, name)
		}
		if err := def.Validate(); err != nil {
			return nil, fmt.Errorf("%w\n\tin %s", err, name)
		}
		_, version := spec.VersionOf(def.Slug)
		flows = append(flows, gen.Declaration{Flow: def.Slug, Version: version, Definition: def})
	}
	if flows == nil {
		return nil, fmt.Errorf("flowc: %s: it contains no flow", name)
	}
	return flows, nil
}
