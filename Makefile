# libsecp256k1 (vendored C in go-nostr) checks signatures six times faster than
# pure Go; it needs a C compiler. Without one, `make TAGS=` builds pure Go.
TAGS ?= $(if $(shell command -v cc 2>/dev/null),libsecp256k1,)
GO ?= go

build:
	$(GO) build -tags "$(TAGS)" -o bin/mostrodex ./cmd/mostrodex
