# Real Lightning nodes for tests. `make lnd` builds lnd and btcd once, into the
# user's cache; tests that need them are skipped, loudly, while they are absent.
.PHONY: lnd lnd-wire
lnd:
	@tools/lnd/build.sh

# The field numbers of our trimmed .proto against lnd's own descriptors.
lnd-wire:
	cd tools/lnd && CGO_ENABLED=0 $(GO) test ./...
