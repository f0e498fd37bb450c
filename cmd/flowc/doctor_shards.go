package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/ops"
	"github.com/flowc-dev/flowc/runtime/shards"
	"github.com/flowc-dev/flowc/runtime/spec"
)

// checkShards examines whether shards fit together: the map, the addresses, and the flows.
func checkShards(ctx context.Context, db *database) []finding {
	named := func(check string, found []finding) []finding {
		if len(found) == 0 {
			found = []finding{{Severity: fine}}
		}
		for i := range found {
			found[i].Check = check
		}
		return found
	}
	united, err := db.unite(ctx)
	if err != nil {
		what, do, _ := strings.Cut(err.Error(), "\n\tfix: ")
		return named("map", []finding{{Severity: problem, What: strings.TrimPrefix(what, "flowc: "), Do: do}})
	}
	_ = united.Refresh(ctx) // shards that do not answer are findings of their own
	return append(named("map", checkMap(db, united)), named("flows", checkFlows(ctx, db))...)
}

func checkMap(db *database, united *shards.DB) (found []finding) {
	inMap := db.inMap()
	for _, s := range inMap {
		if s.pool == nil {
			found = append(found, finding{Severity: problem, What: "FLOWC_SHARDS has no address for shard " + s.name, Do: "add " + s.name + "=postgres://… to it, here and for all programs"})
		}
	}
	for _, s := range db.servers {
		if !slices.ContainsFunc(inMap, func(known server) bool { return known.pool == s.pool }) {
			found = append(found, finding{Severity: warning, What: s.name + " of FLOWC_SHARDS is not a shard, so it gets no runs", Do: "flowc shards add " + s.name})
		}
	}
	for _, s := range united.Shards() {
		if s.State == shards.Draining {
			found = append(found, finding{Severity: fine, What: "shard " + s.Name + " is draining"})
		}
	}
	return found
}

// checkFlows finds flows that are not the same on all shards.
func checkFlows(ctx context.Context, db *database) (found []finding) {
	definitions := map[string]map[string]spec.Flow{} // by slug and shard
	var names []string
	for _, s := range db.inMap() {
		if s.err != nil {
			continue
		}
		flows, err := ops.ListFlows(ctx, s.pool, time.Now())
		if err != nil {
			continue // the check of the server says why
		}
		names = append(names, s.name)
		for _, f := range flows {
			def, err := spec.Parse(f.Slug, f.Definition)
			if err != nil {
				found = append(found, finding{Severity: problem, What: s.fault(err).Error()})
				continue
			}
			if definitions[f.Slug] == nil {
				definitions[f.Slug] = map[string]spec.Flow{}
			}
			definitions[f.Slug][s.name] = def
		}
	}
	for _, slug := range slices.Sorted(maps.Keys(definitions)) {
		if differ := differing(names, definitions[slug]); differ != "" {
			found = append(found, finding{Severity: problem, What: "flow " + slug + " " + differ, Do: "flowc flows plan shows the differences, flowc flows upsert makes them the same"})
		}
	}
	flows, _ := ops.ListFlows(ctx, db.DB, time.Now()) // a shard that does not answer is a finding of its own
	for _, f := range flows {
		if len(f.PausedOn) > 0 {
			found = append(found, finding{
				Severity: warning, What: "flow " + f.Slug + " is paused on " + strings.Join(f.PausedOn, ", ") + " only",
				Do: "flowc flows pause " + f.Slug + " for all shards, or flowc flows resume " + f.Slug,
			})
		}
	}
	return found
}

// differing returns how the definitions of a flow differ between shards.
func differing(names []string, on map[string]spec.Flow) string {
	first := slices.IndexFunc(names, func(name string) bool { _, has := on[name]; return has })
	for _, name := range names {
		def, has := on[name]
		if !has {
			return "is not on shard " + name
		}
		if list := spec.Compare(on[names[first]], def); len(list) > 0 {
			return "is not the same on shards " + names[first] + " and " + name + ": " + list[0].String()
		}
	}
	return ""
}
