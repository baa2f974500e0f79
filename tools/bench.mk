# Benchmarks. The figures are appended to tools/bench/results.jsonl, and bench-report
# writes docs/performance.md from that file. tools/bench is a module of its own, so that
# the relays for comparison do not become dependencies of mostrodex.
BENCH_DIR := tools/bench
BENCH_ARGS ?=
BENCH_SCENARIO ?= all

.PHONY: bench bench-quick bench-report bench-build bench-test

bench-build: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/bench . && \
	  $(GO) build -trimpath -tags libsecp256k1 -o bin/stock ./stock && \
	  $(GO) build -trimpath -tags libsecp256k1 -o bin/canned ./canned
	$(GO) test -c -tags "$(TAGS)" -o $(BENCH_DIR)/bin/reputation.test ./reputation/score
	$(GO) test -c -tags "$(TAGS)" -o $(BENCH_DIR)/bin/escrow.test ./escrow
	$(GO) test -c -tags "$(TAGS)" -o $(BENCH_DIR)/bin/stats.test ./indexer/stats

# About an hour at full size, most of it the book of a million orders.
bench: bench-build
	cd $(BENCH_DIR) && bin/bench $(BENCH_ARGS) $(BENCH_SCENARIO)
	@$(MAKE) --no-print-directory bench-report

# Takes some minutes. Each figure is marked with the scale, and no report is written.
bench-quick: bench-build
	cd $(BENCH_DIR) && bin/bench -scale 0.05 -slice 200ms -tries 1 -results quick.jsonl $(BENCH_SCENARIO)

bench-report:
	cd $(BENCH_DIR) && $(GO) run -tags libsecp256k1 . report > performance.tmp && mv performance.tmp ../../docs/performance.md

bench-test:
	cd $(BENCH_DIR) && $(GO) vet -tags libsecp256k1 ./... && $(GO) test -tags libsecp256k1 ./...

# Five relays must converge to the same events: three mostrodex relays, and two stock
# relays that cap their answers. Links are cut and processes are killed meanwhile. With
# FEDERATION_ARGS=hostile, some relays lie instead: stale, liar-filter, resurrect.
.PHONY: federation
FEDERATION_ARGS ?=
federation: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/federation ./federation && \
		$(GO) build -trimpath -tags libsecp256k1 -o bin/stock ./stock && bin/federation $(FEDERATION_ARGS)

# Two relays that differ by 1,000 events must converge by NIP-77, and an empty relay must
# receive all events of another one. RECONCILE_EACH=1000000 first prepares a data
# directory of a million events from the book of `make bench`, and keeps the directory in
# the cache. It needs about 6 GB of memory.
.PHONY: reconcile
RECONCILE_EACH ?= 20000
RECONCILE_ARGS ?= $(if $(filter 1000000,$(RECONCILE_EACH)),-cache $(CACHE)/bench -corpus $(firstword $(wildcard $(CACHE)/bench/book-1000000-*.ndjson)) -fill=false)
reconcile: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/federation ./federation && \
		bin/federation -each $(RECONCILE_EACH) $(RECONCILE_ARGS) reconcile

# Live delivery to a thousand subscriptions, ten thousand idle connections, and a flood by
# one key. Both sides need about 11,000 open files.
.PHONY: sockets
SOCKETS ?= fanout idle flood
sockets: build
	cd $(BENCH_DIR) && $(GO) build -trimpath -tags libsecp256k1 -o bin/sockets ./sockets && \
		$(GO) build -trimpath -tags libsecp256k1 -o bin/stock ./stock && bin/sockets $(SOCKETS)

# Attacks over loopback against a running server, with an innocent client beside each
# attack. The target fails if the client's latency or the server's memory exceeds a bound.
.PHONY: attack
ATTACK_ARGS ?=
attack: build
	$(GO) run -tags "$(TAGS)" ./tools/attack $(ATTACK_ARGS)
