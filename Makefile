# Every task of the project, for people and for CI alike; `make help` lists them.
#
# `setup` installs what is missing on a bare Debian 12 (as root) and is quick when all is there. Plain `cargo build`
# and `cargo test` need none of it: only the kernel programs and the tests in network namespaces do.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)

# The linker of the kernel programs: its version and the LLVM that it is built against belong together.
BPF_LINKER_VERSION := 0.13.0
LLVM_VERSION := 22
PACKAGES := build-essential pkg-config ca-certificates curl jq python3-venv zsh fish \
	rustc-web cargo-web rust-web-src rust-web-clippy rustfmt-web llvm-$(LLVM_VERSION)-dev zlib1g-dev libzstd-dev \
	iproute2 iputils-ping iperf3 nftables ethtool tcpdump busybox isc-dhcp-client bind9-dnsutils dnsmasq-base \
	nginx openssl

CARGO ?= cargo
PREFIX ?= /usr/local
# Where `install` finds what was built.
BUILT ?= target/release
BUILT_EBPF ?= target/ebpf
# Asks the API whether it is as it says; in a directory of its own, from PyPI.
SCHEMATHESIS_VERSION := 4.32.5
SCHEMATHESIS := target/schemathesis
API_EXAMPLES ?= 100
FUZZ_SECONDS ?= 30
# Half through the XDP program, half through the TC program, each as often through the engine alone.
DIFFERENTIAL_PACKETS ?= 5000000
# Tests of one machine with two cores: each builds a site of its own, so more at once only slows all of them.
ROOT_TEST_THREADS ?= 2

.PHONY: help setup setup-packages setup-linker setup-api test-api check-cargo build ebpf test test-unit test-root lint tidy \
	conformance differential fuzz bench bench-control bench-peers demo demo-up demo-down install clean

help: ## This list
	@echo "EdgeStack. Start with: make demo"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: setup-packages setup-linker check-cargo ## Install what is missing (Debian 12, as root); quick when nothing is

setup-packages:
	@missing=""; \
	for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}\n' $$package 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" != 0 ]; then echo "setup: as root, run: apt-get install$$missing" >&2; exit 1; fi; \
		echo "setup: installing$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -q; \
		apt-get install -q -y --no-install-recommends $$missing; \
		case "$$missing" in *" nginx"*) systemctl disable --now nginx >/dev/null 2>&1 || true;; esac; \
	fi

# Debian's cargo (of rustc-web) serves where no other toolchain is installed.
check-cargo: setup-packages
	@version="$$($(CARGO) --version 2>/dev/null | cut -d ' ' -f 2)" || true; \
	wanted="$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"; \
	if [ -z "$$version" ]; then \
		echo "setup: no cargo in PATH. Install Rust $$wanted or newer: apt-get install rustc-web cargo-web, or https://rustup.rs" >&2; \
		exit 1; \
	fi; \
	if [ "$$(printf '%s\n' "$$wanted" "$$version" | sort -V | head -n 1)" != "$$wanted" ]; then \
		echo "setup: cargo is $$version, the workspace needs $$wanted or newer (rustup update, or remove it to use Debian's)" >&2; \
		exit 1; \
	fi

setup-linker: setup-packages
	@if [ "$$(bpf-linker --version 2>/dev/null)" != "bpf-linker $(BPF_LINKER_VERSION)" ]; then \
		echo "setup: building bpf-linker $(BPF_LINKER_VERSION), about a minute"; \
		LLVM_PREFIX=/usr/lib/llvm-$(LLVM_VERSION) $(CARGO) install --quiet --locked --force bpf-linker --version $(BPF_LINKER_VERSION); \
	fi

setup-api: setup-packages
	@if [ "$$($(SCHEMATHESIS)/bin/schemathesis --version 2>/dev/null | grep -o '[0-9.]*$$')" != "$(SCHEMATHESIS_VERSION)" ]; then \
		echo "setup: installing schemathesis $(SCHEMATHESIS_VERSION) below $(SCHEMATHESIS)"; \
		python3 -m venv $(SCHEMATHESIS); \
		$(SCHEMATHESIS)/bin/pip install --quiet --disable-pip-version-check schemathesis==$(SCHEMATHESIS_VERSION); \
	fi

build: check-cargo ## Build the daemon and the CLI
	$(CARGO) build --release --locked -p edgestackd -p edgectl

ebpf: setup ## Build the kernel programs from their Rust source
	ebpf/build.sh

test: setup ebpf test-unit test-root ## All tests, those that need root and network namespaces included

test-unit: ## The tests that need neither root nor the eBPF toolchain
	$(CARGO) test --locked

test-root: ebpf setup-api
	$(CARGO) build --locked -p edgestackd -p edgectl
	$(CARGO) test --locked -p edgestack-tests --all-features -- --test-threads=$(ROOT_TEST_THREADS)

test-api: ebpf setup-api ## The API against its own description, API_EXAMPLES (100) requests of each kind
	$(CARGO) build --locked -p edgestackd -p edgectl
	EDGESTACK_API_EXAMPLES=$(API_EXAMPLES) $(CARGO) test --locked -p edgestack-tests --all-features --test e2e api::

lint: setup tidy ## Formatting, clippy without warnings, the house rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	ebpf/build.sh lint

tidy:
	$(CARGO) test --quiet --locked -p edgestack-tests --test tidy

conformance: setup ebpf ## The conformance cases, in all their modes; writes docs/conformance.md
	EDGESTACK_CONFORMANCE_REPORT=$(CURDIR)/docs/conformance.md $(CARGO) test --locked -p edgestack-tests --all-features --test conformance

differential: setup ebpf ## DIFFERENTIAL_PACKETS random packets (5,000,000) through each kernel program and the engine: no difference
	EDGESTACK_DIFFERENTIAL_PACKETS=$(DIFFERENTIAL_PACKETS) $(CARGO) test --locked -p edgestack-tests --all-features \
		--test conformance -- differential --nocapture

fuzz: ## Every fuzz target for FUZZ_SECONDS each (30), where a nightly toolchain is installed
	dataplane/fuzz/run.sh $(FUZZ_SECONDS)

bench: ## Benchmarks of the engine, in memory
	$(CARGO) bench --locked -p edgestack-benches

bench-control: ## The control plane with 10,000 ports: start-up, lists, writes, memory; as root and after make ebpf a rule's way to packets
	$(CARGO) build --release --locked -p edgestackd -p edgestack-benches
	target/release/edgestack-bench-control

bench-peers: setup ebpf ## Side by side with nftables and plain XDP redirect, in network namespaces
	$(CARGO) build --release --locked -p edgestackd -p edgectl -p edgestack-benches
	target/release/edgestack-bench-peers

demo: setup ebpf ## A whole site in network namespaces: build it, use it, check it, remove it
	$(CARGO) build --release --locked -p edgestackd -p edgectl -p edgestack-tests
	target/release/edgestack-demo run

demo-up: setup ebpf ## The same site, left up to play with
	$(CARGO) build --release --locked -p edgestackd -p edgectl -p edgestack-tests
	target/release/edgestack-demo up

demo-down: ## Remove the site that demo-up left
	$(CARGO) build --release --locked -p edgestack-tests
	target/release/edgestack-demo down

install: build ebpf ## Install daemon, CLI, kernel programs, configuration and unit under PREFIX (/usr/local)
	install -D -m 0755 $(BUILT)/edgestackd $(DESTDIR)$(PREFIX)/sbin/edgestackd
	install -D -m 0755 $(BUILT)/edgectl $(DESTDIR)$(PREFIX)/bin/edgectl
	install -D -m 0644 $(BUILT_EBPF)/edgestack.o $(DESTDIR)/usr/lib/edgestack/edgestack.o
	install -D -m 0644 README.md $(DESTDIR)$(PREFIX)/share/doc/edgestack/README.md
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	sed 's|/usr/local/|$(PREFIX)/|g' config/systemd/edgestackd.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/edgestackd.service
	$(BUILT)/edgectl completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/edgectl
	$(BUILT)/edgectl man -q $(DESTDIR)$(PREFIX)/share/man/man1
	test -e $(DESTDIR)/etc/edgestack/edgestackd.toml || \
		install -D -m 0644 config/edgestackd.toml $(DESTDIR)/etc/edgestack/edgestackd.toml
# Into a directory of a package: what belongs to the running host is the package's to do.
ifeq ($(DESTDIR),)
	getent group edgestack >/dev/null || groupadd --system edgestack
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
endif

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf ebpf/target dataplane/fuzz/target
