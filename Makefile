# What people do here. Each target installs through apt what it needs, or names it in one line.
.PHONY: demo test lint golden bench conformance tools

NEED := tests/tools/need.sh
BUILD := cmake:cmake make:make cc:build-essential
CASES ?=

demo:            ## the main job in one terminal; ARGS=--once ends after the play
	@$(NEED) demo cargo:rustup $(BUILD)
	cargo run -q -p isthmus -- demo $(ARGS)

test: tools      ## everything that must hold: unit, golden, conformance, framing, protocols, h2spec
	cargo build --workspace
	cargo test --workspace

lint:            ## what CI asks of the text: format, lints, documentation
	@$(NEED) lint cargo:rustup $(BUILD)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

golden:          ## rewrite the goldens; review the diff like code
	UPDATE_GOLDEN=1 cargo test -p isthmus-config -p isthmus-core -p isthmus-discovery
	git diff --stat

conformance:     ## the recorded cases alone; CASES="tests/conformance/cases/hosts.yaml ..." plays some
	@$(NEED) conformance cargo:rustup $(BUILD) py-yaml:python3-yaml ip:iproute2 unshare:util-linux
	cargo build -p isthmus
	python3 tests/conformance/conform.py --isthmus target/debug/isthmus $(CASES)

bench:           ## the rig: nginx, HAProxy, Envoy and Isthmus in turn (benches/rig/README.md)
	@$(NEED) bench cargo:rustup $(BUILD) python3:python3-venv nginx:nginx haproxy:haproxy wrk:wrk taskset:util-linux
	cargo build --release -p isthmus -p isthmus-benches
	python3 benches/rig/rig.py --isthmus target/release/isthmus $(ARGS)

tools:           ## what `make test` needs beside Rust
	@$(NEED) test cargo:rustup $(BUILD) go:golang-go python3:python3 py-yaml:python3-yaml ip:iproute2 unshare:util-linux setpriv:util-linux openssl:openssl
