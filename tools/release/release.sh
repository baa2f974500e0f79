#!/bin/sh
# Writes a release to a new directory: release.sh DIR VERSION. `make release` calls it. ARCHES names
# the architectures (amd64 arm64).
set -eu
umask 022
dir=$1 version=${2:-}
here=$(dirname "$0")
here=$(cd "$here" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$here/../.."
GO=${GO:-go}
ARCHES=${ARCHES:-amd64 arm64}
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.47.0
CYCLONEDX=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# Without a tag the version sorts before every release and names the commit.
commit=$(git rev-parse HEAD)
if [ -z "$version" ]; then version=0.0.0~git.$(printf %.12s "$commit"); fi
# All times in the files are the time of the commit.
SOURCE_DATE_EPOCH=$(git show -s --format=%ct HEAD)
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
	echo "the working tree has changes that are not committed: the release is not reproducible" >&2
	[ -n "${DIRTY:-}" ] || exit 1
fi
if [ -n "$(ls -A "$dir")" ]; then
	echo "$dir is not empty" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086 # a list of words
CGO=${CGO:-1} "$here/build.sh" "$work" "$version" $ARCHES

# The manual pages and completions are written by the program of this machine.
host=$work/mostrodex-linux-$($GO env GOARCH)
[ -x "$host" ] || CGO=0 "$here/build.sh" "$work" "$version" "$($GO env GOARCH)"
mkdir -p "$work/share/man" "$work/share/completions"
"$host" man --dir "$work/share/man"
gzip -9n "$work/share/man"/*.1
for shell in bash zsh fish; do "$host" completion $shell >"$work/share/completions/mostrodex.$shell"; done
# A package installs to /usr, a person to /usr/local.
for unit in mostrodex mostrodex-backup; do
	sed 's,/usr/local/bin/,/usr/bin/,' "deploy/$unit.service" >"$work/share/$unit.service"
done
# The section of the changelog: that of the version, or what is not released yet.
awk -v v="## $version" 'BEGIN { u = "## Unreleased" }
	/^## / { take = index($0, v) == 1 || (!found && $0 == u); if (index($0, v) == 1) { found = 1; text = "" } }
	take { text = text $0 "\n" }
	END { printf "%s", text }' CHANGELOG.md >"$work/CHANGES.md"
[ -s "$work/CHANGES.md" ] || { echo "CHANGELOG.md has no section for $version" >&2; exit 1; }

# The SBOM has a checksum of the tool that made it.
GOFLAGS='' GOOS='' GOARCH='' CGO_ENABLED=0 GOBIN="$work" "$GO" install -trimpath "$CYCLONEDX"

# pack DIR FILE writes a tar archive whose bytes depend on the files' content alone.
pack() {
	tar -C "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar -cf - . | gzip -9n >"$2"
}

for arch in $ARCHES; do
	name=mostrodex-$version-linux-$arch
	root=$work/$name
	mkdir -p "$root/deploy"
	cp "$work/mostrodex-linux-$arch" "$root/mostrodex"
	cp LICENSE README.md "$work/CHANGES.md" "$root/"
	cp -R deploy/. "$root/deploy"
	cp -R "$work/share/man" "$work/share/completions" "$root/"
	chmod -R u=rwX,go=rX "$root"
	mkdir "$work/top-$arch" && mv "$root" "$work/top-$arch/"
	pack "$work/top-$arch" "$dir/$name.tar.gz"

	for format in deb rpm; do
		env GOFLAGS="" BINARY="$work/mostrodex-linux-$arch" SHARE="$work/share" ARCH="$arch" VERSION="$version" \
			"$GO" run "$NFPM" package -f deploy/nfpm.yaml -p $format -t "$dir/$name.$format" >/dev/null
	done
	# From the program itself, which names all of its modules.
	"$work/cyclonedx-gomod" bin -json -noserial -notimestamp -std -licenses -version "$version" -output "$dir/$name.cdx.json" "$work/mostrodex-linux-$arch" 2>"$work/sbom.log" ||
		{ cat "$work/sbom.log" >&2; exit 1; }
done
cp "$work/CHANGES.md" "$dir/CHANGES.md"
{
	echo "commit $commit"
	echo "version $version"
	"$GO" version
	if [ "${CGO:-1}" = 1 ]; then for cc in x86_64-linux-gnu-gcc aarch64-linux-gnu-gcc; do $cc --version | head -1; done; fi
} >"$dir/BUILD.txt"
(cd "$dir" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" SHA256SUMS)
ls -l "$dir"
