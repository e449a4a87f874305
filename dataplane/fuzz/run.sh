#!/bin/sh
# Builds the fuzz targets and runs each for so many seconds (30): `make fuzz`. Needs no cargo-fuzz and no nightly: the
# compiler is told to allow what libFuzzer wants. Needs a C++ compiler, for libFuzzer itself.
# A finding stays in artifacts/; README.md says where to put it.
set -eu

seconds=${1:-30}
here=$(cd "$(dirname "$0")" && pwd)

if ! command -v c++ >/dev/null 2>&1; then
	echo "fuzz: skipped: libFuzzer needs a C++ compiler (apt-get install g++); the plain tests run the same code" >&2
	exit 0
fi
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
*-linux-gnu | *-apple-darwin) ;;
*)
	echo "fuzz: skipped: libFuzzer is not known to run on $host" >&2
	exit 0
	;;
esac

flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
target="${CARGO_TARGET_DIR:-$here/target}"
RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_TARGET_DIR="$target" \
	cargo build --release --locked --manifest-path "$here/Cargo.toml" --target "$host"

mkdir -p "$here/artifacts"
for name in parse tunnel dhcp4 dhcp6 dns pcap pipeline; do
	mkdir -p "$here/corpus/$name"
	# Something to begin with: scripts of a few bytes do nothing.
	[ -e "$here/corpus/$name/seed" ] || head -c 2000 /dev/urandom >"$here/corpus/$name/seed"
	echo "fuzz: $name for $seconds s"
	"$target/$host/release/$name" -max_total_time="$seconds" -max_len=4096 -len_control=0 -print_final_stats=1 \
		-artifact_prefix="$here/artifacts/$name-" "$here/corpus/$name"
done
