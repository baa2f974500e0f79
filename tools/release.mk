# Releases. `make release` writes everything to dist/: static programs for amd64 and arm64, archives,
# Debian and RPM packages, an SBOM, the changelog and checksums. It needs the Go module proxy and,
# for libsecp256k1, gcc-x86-64-linux-gnu and gcc-aarch64-linux-gnu with their libc (Debian:
# libc6-dev-arm64-cross); CGO=0 builds pure Go. The bytes depend on the commit, VERSION, Go and the
# C compiler alone.
.PHONY: release release-check
VERSION ?= $(shell git describe --tags --match 'v*' 2>/dev/null | sed 's/^v//')
release:
	GO="$(GO)" tools/release/release.sh dist "$(VERSION)"

# Builds the release twice, in two directories and without a cache, compares the bytes, and tries
# the result: packages, the root of the container, arm64 under emulation. It takes some ten minutes.
release-check:
	$(GO) test -tags "$(TAGS)" -count 1 -timeout 60m -v ./tools/release -release
