# Thin targets; what they do is in Go or in scripts/.

# One setting for released and measured builds. With cgo the storage engine keeps
# its blocks outside the garbage collector's heap: a page of 500 cold keys out of
# a million takes 6 ms, without it 20 (BenchmarkPage). It builds and passes
# without cgo too (nocgo).
export CGO_ENABLED ?= 1

SHA     := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS := -X etcd.alt/api/version.GitSHA=$(SHA)
GO      := go

.PHONY: help build start deps test race nocgo fuzz policy sim images planted crash full fault official mixed failover leases soak conformance oracle bench budget proto lint fmt clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## bin/etcd, bin/etcdctl, bin/etcdutl
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

start: build ## build, and run a member on 127.0.0.1:2379 with its data in default.etcd
	./bin/etcd

deps: ## install what the tests need (Debian packages)
	./scripts/deps

test: deps lint build ## the quick suite: lint, then every test
	$(GO) test ./...

PACKAGES ?= ./...
race: ## every test under the race detector
	CGO_ENABLED=1 $(GO) test -race $(PACKAGES)

nocgo: ## build and test without cgo
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) test -short $(PACKAGES)

FUZZTIME ?= 15s
fuzz: ## every fuzz target for FUZZTIME
	./scripts/fuzz $(FUZZTIME)

CASES ?= 1000000
policy: ## CASES requests under policies that change, each verdict held against a naive oracle's, from SEED on
	POLICY_CASES=$(CASES) POLICY_SEED=$(SEED) $(GO) test ./internal/machine -run TestRightsAgainstAnOracle -count=1 -v -timeout 10h

SEEDS    ?= 500
CLUSTERS ?= $(SEEDS)
SEED     ?= 1
sim: ## the simulator: SEEDS members alone and CLUSTERS clusters, from SEED on
	SIM_SEEDS=$(SEEDS) SIM_CLUSTERS=$(CLUSTERS) SIM_TWICE=50 SIM_SEED=$(SEED) $(GO) test ./internal/sim -run 'TestSeeds|TestClusters' -count=1 -v -timeout 10h

IMAGES ?= 5000
images: ## the disks that IMAGES power cuts leave of a loaded member
	SIM_IMAGES=$(IMAGES) $(GO) test ./internal/sim -run TestCrashImages -count=1 -v -timeout 1h

planted: ## the simulator must find the bugs that are planted for it
	./scripts/planted

ROUNDS ?= 100
crash: build ## kill -9 a loaded member, ROUNDS times, and look for lost writes
	CRASH_ROUNDS=$(ROUNDS) $(GO) test ./test/crash -count=1 -v -timeout 2h

full: build ## fill a member's disk, kill it, free space again
	CRASH_FULL_DISK=1 $(GO) test ./test/crash -run Fill -count=1 -v -timeout 20m

MINUTES ?= 10
FAULT_TESTS ?= Faults|Disk
fault: build ## three members and clients under kill -9, stops, cuts and full disks for MINUTES, then locks, leases and users; histories judged (SEED)
	FAULT_MINUTES=$(MINUTES) SEED=$(if $(filter file,$(origin SEED)),,$(SEED)) $(GO) test ./test/fault -run '$(FAULT_TESTS)' -parallel 4 -count=1 -v -timeout 24h

# The official client is a module of its own, so it is a program of its own here.
official: ## the same, asked by the official client
	$(GO) build -C test/conformance -o ../../bin/outside ./outside
	FAULT_CLIENT=$(CURDIR)/bin/outside $(MAKE) fault MINUTES=$(MINUTES) FAULT_TESTS=Faults

mixed: ## clusters with members of the upstream etcd 3.7 that ETCD_PEER names
	$(GO) test ./test/mixed -count=1 -v -timeout 1h

KILLS ?= 50
failover: build ## kill the leader KILLS times, and measure how long no write succeeds
	FAILOVER_KILLS=$(KILLS) $(GO) test ./test/fault -run Failover -count=1 -v -timeout 2h

ROUNDS_OF_LEASES ?= 5
leases: build ## kill the leader ROUNDS_OF_LEASES times before leases end, and see when they do
	LEASE_ROUNDS=$(ROUNDS_OF_LEASES) $(GO) test ./test/fault -run Leases -count=1 -v -timeout 1h

CONNS   ?= 1000
STREAMS ?= 100
soak: ## CONNS connections of STREAMS streams; nothing of them may stay behind
	CONNS=$(CONNS) STREAMS=$(STREAMS) $(GO) test ./test/soak -count=1 -v -timeout 1h

conformance: ## the official client, etcdctl and Debian's etcd 3.4 against a member
	./test/conformance/run ./...

# SEED (random unless it is given), RESTARTS and SHRINK may be set too.
OPS ?= 20000
oracle: ## OPS random operations, answered alike by Debian's etcd 3.4
	OPS=$(OPS) SEED=$(if $(filter file,$(origin SEED)),,$(SEED)) RESTARTS=$(RESTARTS) SHRINK=$(SHRINK) ./test/conformance/run ./oracle -run TestOracle -v -timeout 4h

PEER ?= $(shell command -v etcd)
bench: KEYS ?= 100000
bench: build ## measure beside the etcd binary PEER, with KEYS keys
	$(GO) run ./bench -peer "$(PEER)" -keys $(KEYS)

budget: KEYS ?= 1000000
budget: build ## the same with a million keys; fails when a line of the budget is missed
	$(GO) run ./bench -peer "$(PEER)" -keys $(KEYS) -budget

proto: deps ## generate api/**/*.go from the .proto files
	./scripts/proto

lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files "*.go" | grep -v "\.pb\.go$$")); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fmt: ## format
	gofmt -w $$(git ls-files "*.go" | grep -v "\.pb\.go$$")

clean: ## remove what was built
	rm -rf bin bench/out
