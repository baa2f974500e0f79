# Cross-checks against independent implementations. Each target prepares a bridge
# outside the tree and then runs the Go tests that use the bridge. If a tool chain is
# missing, the target prints SKIP and succeeds.
GO ?= go
INTEROP_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/mostrodex
INTEROP_NPM = $(INTEROP_CACHE)/interop-npm
INTEROP_CORE = $(INTEROP_CACHE)/interop-core

.PHONY: interop-npm interop-npm-prepare interop-core interop-core-prepare

# nostr-tools and rust-nostr's WebAssembly build, from the npm registry.
interop-npm-prepare:
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
		mkdir -p "$(INTEROP_NPM)" && cp tools/interop-npm/package.json tools/interop-npm/package-lock.json tools/interop-npm/bridge.mjs "$(INTEROP_NPM)/" && \
		if cmp -s tools/interop-npm/package-lock.json "$(INTEROP_NPM)/installed.json"; then :; else \
			cd "$(INTEROP_NPM)" && npm ci --no-audit --no-fund --loglevel=error && cp package-lock.json installed.json; fi; \
	else echo "SKIP interop-npm: node and npm are not installed"; fi

interop-npm: interop-npm-prepare
	MOSTRODEX_INTEROP_NPM="$(INTEROP_NPM)" $(GO) test -tags "$(TAGS)" -count=1 -run 'InteropNPM' ./mostro/envelope

# mostro-core, the reference implementation, from the Rust registry. The first build
# takes some minutes. Later builds use the cache.
interop-core-prepare:
	@if command -v cargo >/dev/null; then \
		CARGO_TARGET_DIR="$(INTEROP_CORE)" cargo build --quiet --release --locked --manifest-path tools/interop-core/Cargo.toml; \
	else echo "SKIP interop-core: cargo is not installed"; fi

interop-core: interop-core-prepare
	MOSTRODEX_INTEROP_CORE="$(INTEROP_CORE)/release/interop-core" $(GO) test -tags "$(TAGS)" -count=1 -run 'InteropCore' ./mostro/envelope ./mostro/attestation

# The relay clients of nostr-tools and NDK with this project's relay. nostr-tools sets alerts, and
# the client of @modelcontextprotocol/sdk calls `mostrodex mcp`.
INTEROP_CLIENTS = $(INTEROP_CACHE)/interop-clients
.PHONY: interop-clients interop-clients-prepare

interop-clients-prepare:
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
		mkdir -p "$(INTEROP_CLIENTS)" && cp tools/interop-clients/package.json tools/interop-clients/package-lock.json tools/interop-clients/*.mjs "$(INTEROP_CLIENTS)/" && \
		if cmp -s tools/interop-clients/package-lock.json "$(INTEROP_CLIENTS)/installed.json"; then :; else \
			cd "$(INTEROP_CLIENTS)" && npm ci --no-audit --no-fund --loglevel=error && cp package-lock.json installed.json; fi; \
	else echo "SKIP interop-clients: node and npm are not installed"; fi

interop-clients: interop-clients-prepare
	@if [ -d "$(INTEROP_CLIENTS)/node_modules" ]; then \
		MOSTRODEX_INTEROP_CLIENTS="$(INTEROP_CLIENTS)" $(GO) test -tags "$(TAGS)" -race -count=1 -run 'RequestsOfRealClients|Overtaking' ./relay -overtaking.rounds 10000 && \
		MOSTRODEX_INTEROP_CLIENTS="$(INTEROP_CLIENTS)" $(GO) test -tags "$(TAGS)" -count=1 -run 'InteropClients' ./cmd/mostrodex; fi

# mostro-cli, the reference command line client, unmodified, with `mostrodex demo`. The
# first build takes some minutes. Later builds use the cache.
INTEROP_CLI = $(INTEROP_CACHE)/mostro-cli
INTEROP_CLI_VERSION = 0.16.3
.PHONY: interop-cli interop-cli-prepare

interop-cli-prepare:
	@if [ "$$($(INTEROP_CLI)/bin/mostro-cli --version 2>/dev/null)" = "mostro-cli $(INTEROP_CLI_VERSION)" ]; then :; \
	elif command -v cargo >/dev/null; then \
		CARGO_TARGET_DIR="$(INTEROP_CACHE)/mostro-cli-target" cargo install --quiet mostro-cli --version $(INTEROP_CLI_VERSION) --locked --root "$(INTEROP_CLI)"; \
	else echo "SKIP interop-cli: cargo is not installed"; fi

interop-cli: build interop-cli-prepare
	@if [ -x "$(INTEROP_CLI)/bin/mostro-cli" ]; then \
		MOSTRODEX_INTEROP_CLI="$(INTEROP_CLI)/bin/mostro-cli" MOSTRODEX_INTEROP_CLI_SERVER="$(CURDIR)/bin/mostrodex" \
			$(GO) test -tags "$(TAGS)" -count=1 ./tools/interop-cli; fi

# mostrod, the reference daemon, unmodified, on real Lightning nodes, with our relay as its
# only relay. The build needs protoc (Debian: protobuf-compiler) and takes some 20 minutes.
# `make lnd` builds the Lightning nodes. MOSTRODEX_INTEROP_MOSTROD_TRANSCRIPTS=DIR keeps the
# transcripts.
INTEROP_MOSTROD = $(INTEROP_CACHE)/mostrod
INTEROP_MOSTROD_VERSION = 0.20.2
.PHONY: interop-mostrod interop-mostrod-prepare interop-mostrod-cached

# Succeeds if mostrod has been built.
interop-mostrod-cached:
	@[ "$$(TERM=xterm $(INTEROP_MOSTROD)/bin/mostrod --version 2>/dev/null | sed -n 's/^.* //p' | tail -n 1)" = "$(INTEROP_MOSTROD_VERSION)" ]

interop-mostrod-prepare:
	@if $(MAKE) --no-print-directory interop-mostrod-cached; then :; \
	elif ! command -v cargo >/dev/null; then echo "SKIP interop-mostrod: cargo is not installed"; \
	elif ! command -v protoc >/dev/null; then echo "SKIP interop-mostrod: protoc is not installed"; \
	else \
		CARGO_TARGET_DIR="$(INTEROP_CACHE)/mostrod-target" cargo install --quiet mostro --version $(INTEROP_MOSTROD_VERSION) --locked --root "$(INTEROP_MOSTROD)"; fi

# If mostro-cli has been built, the test uses the client too.
interop-mostrod: build interop-mostrod-prepare
	@if $(MAKE) --no-print-directory interop-mostrod-cached; then \
		MOSTRODEX_INTEROP_MOSTROD="$(INTEROP_MOSTROD)/bin/mostrod" MOSTRODEX_INTEROP_MOSTROD_SERVER="$(CURDIR)/bin/mostrodex" \
			MOSTRODEX_INTEROP_CLI="$(wildcard $(INTEROP_CLI)/bin/mostro-cli)" $(GO) test -tags "$(TAGS)" -count=1 -timeout 20m ./tools/interop-mostrod; fi

# The tools of researchers (DuckDB, pandas, Frictionless, mlcroissant, hyparquet) with the exports
# of a running server. Some 600 MB of packages from PyPI and one from npm.
INTEROP_DATA = $(INTEROP_CACHE)/interop-data
.PHONY: interop-data interop-data-prepare

interop-data-prepare:
	@if command -v python3 >/dev/null && command -v npm >/dev/null && command -v node >/dev/null; then \
		mkdir -p "$(INTEROP_DATA)" && cd tools/interop-data && cp package.json package-lock.json requirements.txt read.py read.mjs "$(INTEROP_DATA)/" && cd "$(INTEROP_DATA)" && \
		if cmp -s requirements.txt venv/installed.txt && cmp -s package-lock.json node_modules/installed.json; then :; \
		elif python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt && npm ci --no-audit --no-fund --loglevel=error; then \
			cp requirements.txt venv/installed.txt && cp package-lock.json node_modules/installed.json; \
		else rm -f venv/installed.txt; echo "SKIP interop-data: the packages cannot be installed (PyPI or npm cannot be reached, or Python is older than 3.11)"; fi; \
	else echo "SKIP interop-data: python3, node and npm are not all installed"; fi

interop-data: build interop-data-prepare
	@if [ -f "$(INTEROP_DATA)/venv/installed.txt" ] && [ -f "$(INTEROP_DATA)/node_modules/installed.json" ]; then \
		MOSTRODEX_INTEROP_DATA="$(INTEROP_DATA)" MOSTRODEX_INTEROP_DATA_SERVER="$(CURDIR)/bin/mostrodex" \
			$(GO) test -tags "$(TAGS)" -count=1 -timeout 20m -v ./tools/interop-data; fi
