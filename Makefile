# Two commands matter: `make test` sets up and passes every test; `make build`
# builds bin/mostrodex. The rest are slices of them, or longer.
#
# libsecp256k1 (vendored C in go-nostr) checks signatures six times faster than
# pure Go; it needs a C compiler. Without one, or with `make TAGS=`, the build
# is pure Go.
TAGS ?= $(if $(shell command -v cc 2>/dev/null),libsecp256k1,)
GO ?= go
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mostrodex
# Tests write their stores to memory if it has room: they sync often, and a process that is
# killed loses nothing there. TESTTMP= names no directory, so that the disk is used.
TESTTMP ?= $(shell [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 4000000 ] 2>/dev/null && ! grep -q ' /dev/shm .*noexec' /proc/mounts && echo /dev/shm)
INMEMORY = $(if $(TESTTMP),GOTMPDIR=$${TMPDIR:-/tmp} TMPDIR=$(TESTTMP))
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.1.4

.PHONY: build test test-long e2e unit race lint fuzz fuzz-short golden kill kill-long secrets sim vuln clean

build:
	$(GO) build -trimpath -tags "$(TAGS)" -o bin/mostrodex ./cmd/mostrodex

# Everything that must hold before a change lands.
test: lint lnd unit race fuzz-short interop-npm interop-clients openapi dashboard-check

# The whole of what make test has slices of. It takes a night, most of it fuzz; FUZZTIME
# shortens that part.
test-long: sim kill-long attack attack-escrow reputation-arm64
	$(GO) test -race -timeout 60m -tags "$(TAGS)" $(RACEPKGS)
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 3h ./relay/eventlog -run 'TestFlippedBit|TestFullDisk' -flips 1000 -disks
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 1h ./escrow -run TestFlippedBitInTheStore -store.flips 1000
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 6h ./cmd/mostrodex -run TestPowerCuts -powercuts 10000
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 3h ./reputation/simulate -run TestFull -sim.seeds 3
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 1h ./cmd/mostrodex -run TestBookLives -pages.live 30m
	@$(MAKE) --no-print-directory fuzz

# Whole programs with real Lightning nodes, real clients and the reference implementation.
e2e: lnd first-trade interop-npm interop-clients interop-core interop-cli interop-data federation
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 20m -run OnLND ./escrow -lnd.long
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 20m -run OnLND ./escrow/lnd
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 20m ./cmd/mostrodex

# Many tests wait for a Lightning node, a timeout or a disk, so three packages run at a
# time. The slice of the attacks runs alone, because it bounds the latency of a client, and
# never from the test cache, because it builds the server by itself. FAST leaves out the tables
# for a debugger, which take half of the time of linking, and a second vet of each package.
FAST = -vet=off -ldflags="-s -w"
unit:
	$(GO) vet -tags "$(TAGS)" ./...
	$(INMEMORY) $(GO) test $(FAST) -p 3 -timeout 20m -tags "$(TAGS)" $$($(GO) list ./... | grep -v '/tools/attack$$')
	$(GO) test -count 1 -tags "$(TAGS)" ./tools/attack

# All packages with goroutines or locks of their own (TestRaceCoversGoroutines). With -short, tests
# with one goroutine play fewer rounds. Not cmd/mostrodex: its tests speak through go-nostr's
# client, which races with itself when a connection ends (relay.go, Close and
# ConnectWithTLS).
RACEPKGS = ./internal/... ./relay ./relay/eventlog/... ./relay/federation ./indexer/... ./escrow/... ./reputation ./reputation/score
race:
	$(INMEMORY) $(GO) test $(FAST) -short -race -timeout 20m -tags "$(TAGS)" $(RACEPKGS)

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on the files above"; exit 1; }
	$(GO) run $(STATICCHECK) -tags "$(TAGS)" ./...

# kill -9 in the middle of imports and of trades in a demo: 5 and 3 here and in unit, 100 of each
# in kill-long.
kill:
	$(GO) test -tags "$(TAGS)" ./cmd/mostrodex -run 'TestKill|TestDemoKill' -count 1

kill-long:
	$(GO) test -tags "$(TAGS)" ./cmd/mostrodex -run 'TestKill|TestDemoKill' -kill.cycles 100 -demo.kills 100 -count 1 -timeout 120m -v

# Every fuzz target of every package, for FUZZTIME each; a short slice of it in
# make test.
FUZZTIME ?= 10m
FUZZPKGS = ./internal/backup ./internal/badgerfiles ./mostro ./mostro/message ./mostro/envelope ./mostro/attestation ./mostro/receipt ./internal/jsonscan ./internal/lang ./internal/plot ./relay ./relay/eventlog/recordlog ./relay/negentropy ./indexer ./indexer/alerts ./indexer/orders ./indexer/stats ./indexer/words ./escrow/effect ./escrow/lightning ./escrow/lnurl ./indexer/export ./reputation/witness
fuzz:
	@TAGS="$(TAGS)" GO="$(GO)" FUZZTIME=$(FUZZTIME) FUZZPROCS=2 tools/fuzz.sh $(FUZZPKGS)

fuzz-short:
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2s

# Nothing that is said holds a preimage, a key, an invoice or a macaroon. The
# same check runs at the end of every test of ./escrow that has an escrow run.
secrets:
	$(GO) test -tags "$(TAGS)" -count 1 ./escrow ./escrow/lnd ./cmd/mostrodex -run 'Secret|Redacted|ClosedSet'

# The attacks on the escrow that docs/security.md lists, over the demo's sockets
# and at their full size; a tenth of it in make test.
.PHONY: attack-escrow
attack-escrow:
	$(GO) test -tags "$(TAGS)" ./cmd/mostrodex -run 'TestAttack' -attack.scale 10 -count 1 -timeout 20m -v

# A million trades against the invariants; 20,000 of them in make test.
sim:
	$(GO) test ./escrow -run 'TestSimulation$$' -sim.trades 1000000 -count 1 -timeout 6h -v

golden:
	$(GO) test ./mostro ./mostro/message ./escrow/lnd/wire -update

# The score's golden bundle, computed again by an arm64 program under emulation.
.PHONY: reputation-arm64
reputation-arm64:
	$(GO) test -tags "$(TAGS)" ./reputation/score -run TestArm64 -count 1 -v

vuln:
	$(GO) run $(GOVULNCHECK) -tags "$(TAGS)" ./...

clean:
	rm -rf bin

include tools/interop.mk tools/bench.mk tools/lnd.mk tools/openapi.mk tools/examples.mk tools/deploy.mk tools/release.mk tools/dashboard.mk tools/first-trade.mk
