# Benchmarks. Measured figures go to tools/bench/results.jsonl, and from there
# to docs/performance.md. The bench is a module of its own, so that what it
# measures against never becomes a dependency.
BENCH_DIR := tools/bench
BENCH_ARGS ?=
BENCH_SCENARIO ?= all

.PHONY: bench bench-quick bench-report bench-build bench-test

bench-build: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/bench . && \
	  $(GO) build -trimpath -tags libsecp256k1 -o bin/stock ./stock && \
	  $(GO) build -trimpath -tags libsecp256k1 -o bin/canned ./canned
	$(GO) test -c -tags "$(TAGS)" -o $(BENCH_DIR)/bin/reputation.test ./reputation/score

# About an hour at full size, most of it the book of a million orders.
bench: bench-build
	cd $(BENCH_DIR) && bin/bench $(BENCH_ARGS) $(BENCH_SCENARIO)
	@$(MAKE) --no-print-directory bench-report

# Minutes; says its scale beside every figure and writes no report.
bench-quick: bench-build
	cd $(BENCH_DIR) && bin/bench -scale 0.05 -slice 200ms -tries 1 -results quick.jsonl $(BENCH_SCENARIO)

bench-report:
	cd $(BENCH_DIR) && $(GO) run -tags libsecp256k1 . report > performance.tmp && mv performance.tmp ../../docs/performance.md

bench-test:
	cd $(BENCH_DIR) && $(GO) vet -tags libsecp256k1 ./... && $(GO) test -tags libsecp256k1 ./...

# Five relays come to hold the same: three of ours, two stock ones that cap
# their answers, links cut, processes killed. FEDERATION_ARGS=hostile plays
# relays that lie instead: stale, liar-filter, resurrect.
.PHONY: federation
FEDERATION_ARGS ?=
federation: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/federation ./federation && \
		$(GO) build -trimpath -tags libsecp256k1 -o bin/stock ./stock && bin/federation $(FEDERATION_ARGS)

# Two relays that differ by 1,000 events come to hold the same by NIP-77, and an
# empty one fills itself. RECONCILE_EACH=1000000 prepares a data directory of a
# million events first, which it keeps in the cache, and takes some 6 GB of
# memory; the corpus is the book of `make bench`.
.PHONY: reconcile
RECONCILE_EACH ?= 20000
RECONCILE_ARGS ?= $(if $(filter 1000000,$(RECONCILE_EACH)),-cache $(CACHE)/bench -corpus $(firstword $(wildcard $(CACHE)/bench/book-1000000-*.ndjson)) -fill=false)
reconcile: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/federation ./federation && \
		bin/federation -each $(RECONCILE_EACH) $(RECONCILE_ARGS) reconcile

# Live delivery to a thousand subscriptions, ten thousand idle connections, a
# flood by one key. It needs some 11,000 open files on each side.
.PHONY: sockets
SOCKETS ?= fanout idle flood
sockets: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/sockets ./sockets && \
		$(GO) build -trimpath -tags libsecp256k1 -o bin/stock ./stock && bin/sockets $(SOCKETS)

# Attacks over loopback against a running server, with an innocent client beside
# each; it fails when the client waits or the server grows too much.
.PHONY: attack
ATTACK_ARGS ?=
attack: build
	$(GO) run -tags "$(TAGS)" ./tools/attack $(ATTACK_ARGS)
