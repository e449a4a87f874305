#!/bin/sh
# Builds the kernel programs into target/ebpf/edgestack.o (and those of the bench into edgestack-lab.o), with whichever toolchain is there:
#   - Debian's rustc-web, cargo-web and rust-web-src (the compiler as packaged, told to allow -Zbuild-std), or
#   - a rustup nightly with rust-src.
# Both need bpf-linker (cargo install bpf-linker). Called by `make ebpf` and, as `ebpf/build.sh lint`, by `make lint`;
# needs no root.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$here")
output="${EDGESTACK_TARGET_DIR:-$repository/target}/ebpf"
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

explain() {
	echo "ebpf/build.sh: $1" >&2
	cat >&2 <<-'END'
		The kernel programs are built from Rust source and need one of these toolchains:
		  Debian:  apt-get install rustc-web cargo-web rust-web-src llvm-22-dev clang-22
		  rustup:  rustup toolchain install nightly --component rust-src
		and the linker for them:
		  LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker
	END
	exit 1
}

command -v bpf-linker >/dev/null 2>&1 || explain "bpf-linker was not found"

# Debian keeps the library sources of its own compiler in one of these.
debian_sources() {
	sysroot=$("$1" --print sysroot 2>/dev/null) || return 1
	[ -e "$sysroot/lib/rustlib/src/rust/library/core/src/lib.rs" ]
}

# The programs use only what any BPF machine since Linux 5.1 has (cpu v3); the kernel minimum is set by tcx: 6.6.
# Unaligned words are read as words: the kernel allows it on every CPU that does.
flags="-Clinker=bpf-linker -Cdebuginfo=2 -Clink-arg=--btf -Ctarget-cpu=v3"
flags="$flags -Clink-arg=--cpu-features=+alu32,+allows-misaligned-mem-access"

# `ebpf/build.sh lint` checks the programs instead of building them.
action=${1:-build}
case "$action" in
build) options="" ;;
lint) action=clippy options="-- -D warnings" ;;
*) explain "unknown argument '$action': none, or lint" ;;
esac

build() {
	# $options is words, or nothing.
	# shellcheck disable=SC2086
	RUSTFLAGS="$flags" CARGO_TARGET_DIR="$output/build" \
		"$@" "$action" --manifest-path "$here/Cargo.toml" --workspace --release --target bpfel-unknown-none \
		-Zbuild-std=core $options
}

if debian_sources /usr/bin/rustc && [ -x /usr/bin/cargo ]; then
	PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 build /usr/bin/cargo
elif command -v rustup >/dev/null 2>&1 && debian_sources "$(rustup which --toolchain nightly rustc 2>/dev/null)"; then
	build rustup run nightly cargo
else
	explain "no toolchain with library sources was found"
fi

[ "$action" = build ] || exit 0
# Under its final name only when whole: a running build never leaves half an object for a daemon to load.
for program in edgestack edgestack-lab; do
	cp "$output/build/bpfel-unknown-none/release/$program" "$output/$program.o.new"
	mv "$output/$program.o.new" "$output/$program.o"
	echo "built $output/$program.o"
done
