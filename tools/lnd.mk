# Real Lightning nodes for tests. `make lnd` builds lnd and btcd once into the user's
# cache. If the binaries are missing, tests that need them are skipped with a message.
.PHONY: lnd lnd-wire
lnd:
	@tools/lnd/build.sh

# Compares the field numbers of escrow/lnd/wire/lnd.proto with lnd's own descriptors.
lnd-wire:
	cd tools/lnd && CGO_ENABLED=0 $(GO) test ./...
