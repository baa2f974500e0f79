#!/bin/sh
# Runs every fuzz target of the given packages for FUZZTIME each (default 60s) on
# FUZZPROCS processors (default 1), at low priority. It prints one line per target:
# the number of executions, or the finding. If a target fails, the exit code is 1. If
# FUZZ is set, only targets with FUZZ in their name run.
#
#   tools/fuzz.sh ./mostro/message
#   FUZZTIME=10m FUZZ=Open tools/fuzz.sh ./mostro/envelope
set -u
time=${FUZZTIME:-60s}
procs=${FUZZPROCS:-1}
go=${GO:-go}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out
cache=$($go env GOCACHE)/fuzz
failed=0

# The test program of a package is built once for all its targets. It runs in the folder
# of the package, and its corpus is where `go test -fuzz` keeps it. -fuzzminimizetime
# bounds minimising, which would otherwise take the whole time and is not counted as
# executions.
fuzz() {
	(cd "$dir" && nice -n 15 "$work/test" -test.run '^$' -test.fuzz "^$1\$" -test.fuzztime "$time" \
		-test.fuzzminimizetime 20x -test.parallel "$procs" -test.fuzzcachedir "$cache/$path") >"$out" 2>&1
}

# On a busy machine the fuzzer of Go 1.26 sometimes fails with its own deadline when its
# time is over. Such a failure names no input, so it is not a finding.
overrun() {
	grep -q '^    context deadline exceeded$' "$out" && ! grep -Eq 'Failing input|panic|testing.go' "$out"
}

for pkg in "$@"; do
	dir=$($go list -f '{{.Dir}}' "$pkg") && path=$($go list -f '{{.ImportPath}}' "$pkg") &&
		$go test -c -tags "${TAGS:-}" -fuzz Fuzz -o "$work/test" "$pkg" || exit 1
	for target in $(cd "$dir" && "$work/test" -test.list '^Fuzz' | grep -- "${FUZZ:-Fuzz}"); do
		if fuzz "$target" || { overrun && fuzz "$target"; } || overrun; then
			execs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$out" | tail -1)
			elapsed=$(sed -n 's/.*elapsed: \([0-9a-z]*\),.*/\1/p' "$out" | tail -1)
			echo "$pkg $target: ${execs:-no} executions beyond its corpus in ${elapsed:-$time} on $procs processor(s), no finding"
		else
			failed=1
			echo "$pkg $target: FAILED"
			cat "$out"
		fi
	done
done
exit $failed
