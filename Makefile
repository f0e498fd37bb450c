# Needs Go, and a PostgreSQL 15 or newer: the one that DATABASE_URL names, or
# else the programs of one, from which the tests and the demo start their own.

.DEFAULT_GOAL := help
.PHONY: help demo demo-shards demo-temporal test race matrix temporal bench bench-gen chaos generate lint rooms postgres

go_dirs := .tools cmd dsl examples gen runtime
tool    := go tool -modfile=.tools/go.mod

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: postgres ## run the main example: a day of orders in a shop
	go run ./examples/orders

demo-shards: postgres ## run the orders on three databases, one of which is killed meanwhile
	go run ./examples/shards

demo-temporal: ## run the main example on Temporal: the first build of a server takes minutes
	cd runtime/temporalflow && go run ./temporaldev/temporald go run ./examples/orders

test: postgres ## vet and test everything
	go mod download # tests build modules of their own without a network
	go vet ./... && go test -timeout 30m ./...
	.ci/temporalflow go vet ./... && .ci/temporalflow go test ./...

race: postgres ## test with the race detector, which needs a C compiler
	go test -race -timeout 60m ./...

matrix: ## test on PostgreSQL 15 to 18, with servers from npm
	.ci/matrix

temporal: postgres ## test on a real Temporal server: its first build takes minutes, TEMPORAL_ADDRESS uses one that runs
	go -C runtime/temporalflow run ./temporaldev/temporald ../../.ci/temporal

bench: postgres ## measure beside the peers, in a module of its own; up to 10 minutes
	cd cmd/flowbench && go run .

bench-gen: ## measure the generator beside others, in a module of its own; a minute
	cd cmd/flowbench/generate && go run .

chaos: postgres ## test what happens when things break, at length
	FLOWC_CHAOS=1 go test -count=1 -timeout 60m -v -run '^TestChaos' ./runtime/...

generate: ## generate the examples' flows again
	go run ./cmd/flowc generate ./examples/...

lint: ## check format, vet, staticcheck, go.mod and that generated files are current
	@files=$$(gofmt -l $(go_dirs)); if [ -n "$$files" ]; then echo "run gofmt -w on:"; echo "$$files"; exit 1; fi
	go vet ./... && go vet .tools/rooms/main.go
	$(tool) staticcheck ./... ./testdata/golden/...
	go mod tidy -diff
	.ci/temporalflow go vet ./... && .ci/temporalflow go mod tidy -diff
	.ci/temporalflow go tool -modfile=../../.tools/go.mod staticcheck ./...
	go run ./cmd/flowc generate --check ./examples/...

rooms: ## print each package's files, lines, exported names and cycles of files
	@go run .tools/rooms/main.go -v $(DIR)

# On Debian and Ubuntu, as root, this installs PostgreSQL if there is none.
# Elsewhere the programs say themselves what to do.
postgres:
	@.ci/postgres
