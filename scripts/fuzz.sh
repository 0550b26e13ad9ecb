#!/usr/bin/env bash
# Runs every fuzz target of the module for a while (10s, or the time given): `go test -fuzz` takes one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
time=${1:-10s}

# package and file of each test of this platform
files='{{$p := .ImportPath}}{{$d := .Dir}}{{range .TestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}'

fuzz() {
	local package=$1 target=$2 log
	echo "fuzz $package $target for $time"
	log=$("$go" test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" 2>&1) && return
	# A worker cut off by the end of its time is reported as a failure, though it found nothing: https://go.dev/issue/48157
	if grep -q 'context deadline exceeded' <<<"$log" && ! grep -q 'Failing input' <<<"$log"; then
		return
	fi
	printf '%s\n' "$log"
	return 1
}

"$go" list -f "$files" ./... | while read -r package file; do
	{ grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" || true; } | while read -r _ target; do
		fuzz "$package" "$target" </dev/null
	done
done
