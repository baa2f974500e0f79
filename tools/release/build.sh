#!/bin/sh
# Builds the programs of a release: build.sh DIR VERSION ARCH... writes DIR/mostrodex-linux-ARCH.
#
# The programs are static and reproducible: two builds with the same Go, C compiler and libc are
# the same bytes, in whatever directory they run. CGO=0 builds pure Go, which needs no C compiler
# and checks signatures six times slower.
set -eu
dir=$1 version=$2
shift 2
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$(dirname "$0")/../.."

case $version in
'' | *[!0-9A-Za-z.+~-]*)
	echo "the version '$version' has other characters than letters, digits, . + ~ -" >&2
	exit 2
	;;
esac

# compiler ARCH prints the C compiler for an architecture.
compiler() {
	case $1 in
	amd64) triple=x86_64-linux-gnu ;;
	arm64) triple=aarch64-linux-gnu ;;
	*) echo "no C compiler is known for $1" >&2 && exit 2 ;;
	esac
	if command -v "$triple-gcc"; then return; fi
	echo "$triple-gcc is not installed (Debian: gcc-$(echo "$triple" | tr _ -)); CGO=0 builds without it" >&2
	exit 1
}

for arch in "$@"; do
	out=$dir/mostrodex-linux-$arch
	if [ "${CGO:-1}" = 0 ]; then
		cc='' tags=netgo,osusergo link=''
	else
		cc=$(compiler "$arch") tags=libsecp256k1,netgo,osusergo
		link="-linkmode external -extldflags '-static -Wl,--build-id=none'"
	fi
	# GOFLAGS and the variables of cgo are not those of the caller, because they would change
	# the bytes. GOAMD64 and GOARM64 name the oldest processors.
	env GOFLAGS="${RELEASE_GOFLAGS:-}" GOOS=linux GOARCH="$arch" GOAMD64=v1 GOARM64=v8.0 CGO_ENABLED="${CGO:-1}" CC="$cc" \
		CGO_CFLAGS='-O2' CGO_CPPFLAGS='' CGO_LDFLAGS='' GOTOOLCHAIN=local \
		"${GO:-go}" build -mod=readonly -trimpath -buildvcs=false -tags "$tags" \
		-ldflags "-s -w -buildid= $link -X main.version=$version" -o "$out.$$" ./cmd/mostrodex
	mv "$out.$$" "$out"
	echo "$out"
done
