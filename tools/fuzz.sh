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
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0

# -fuzzminimizetime bounds minimising, which would otherwise take the whole time and is
# not counted as executions.
fuzz() {
	nice -n 15 ${GO:-go} test -tags "${TAGS:-}" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 20x -parallel "$procs" "$1" >"$out" 2>&1
}

# On a busy machine the fuzzer of Go 1.26 sometimes fails with its own deadline when its
# time is over. Such a failure names no input, so it is not a finding.
overrun() {
	grep -q '^    context deadline exceeded$' "$out" && ! grep -Eq 'Failing input|panic|testing.go' "$out"
}

for pkg in "$@"; do
	for target in $(${GO:-go} test -list '^Fuzz' "$pkg" | grep '^Fuzz' | grep -- "${FUZZ:-Fuzz}"); do
		if fuzz "$pkg" "$target" || { overrun && fuzz "$pkg" "$target"; } || overrun; then
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
