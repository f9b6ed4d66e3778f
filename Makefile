# Each target calls cargo or a script. `make run ARGS="-c configs/dev.conf"` passes arguments on.

CARGO ?= cargo
# Optimised like a release, checked like a debug build, and quick to link.
PROFILE ?= tests

export RINGBUS_GIT_COMMIT := $(shell git rev-parse --short=7 HEAD 2>/dev/null)

.PHONY: run build test deb image check loom sim fuzz compat
.PHONY: bench bench-compare bench-nats bench-shards bench-metrics microbench gate gate-baseline

# Builds the release and starts it on its defaults.
run: build
	@exec "$${CARGO_TARGET_DIR:-target}/release/ringbus" $(ARGS)

build: need-cargo
	@$(CARGO) build --release --package ringbus

# All tests of all crates, some of them side by side with the nats-server this one stands in for.
test: need-cargo
	@NATS_SERVER_BIN="$${NATS_SERVER_BIN:-$$(scripts/install-nats-server.sh)}" || exit 1; \
	export NATS_SERVER_BIN; $(CARGO) test --workspace --profile $(PROFILE) --no-fail-fast $(ARGS)

check: need-cargo
	@$(CARGO) fmt --all -- --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

# A Debian package and a container image, under target/package.
deb: build
	@scripts/build-deb.sh

image: build
	@scripts/build-image.sh

# Every order in which two threads can meet on a ring, as far as the model goes.
loom: need-cargo
	@RUSTFLAGS="--cfg loom" $(CARGO) test --release --package ringbus-mesh \
	  --target-dir "$${CARGO_TARGET_DIR:-target}/loom"

# Whole buses, simulated from seeds; a failing seed is printed. `make sim SEEDS=1000000` takes its time.
sim: need-cargo
	@$(CARGO) run --release --package ringbus-sim -- \
	  --seeds 0..$(or $(SEEDS),20000) --jobs $$(nproc) $(ARGS)

# Random input: configuration files, protocol bytes, tokens, whole sessions, strangers, subjects, and dialogues compared
# between servers.
fuzz: need-cargo
	@RINGBUS_FUZZ_CASES=$(or $(CASES),1000000) \
	  $(CARGO) test --profile $(PROFILE) --package ringbus --bin ringbus fuzz_
	@$(CARGO) test --profile $(PROFILE) --package ringbus-wire --package ringbus-subject random
	@$(CARGO) run --release --package ringbus-wire --example fuzz_parser -- $(or $(CASES),1000000)
	@RINGBUS_FUZZ_CASES=$(or $(CASES),1000000) $(CARGO) test --profile $(PROFILE) \
	  --package ringbus-claims --package ringbus-shard --package ringbus-runtime fuzz_ -- --nocapture
	@NATS_SERVER_BIN="$${NATS_SERVER_BIN:-$$(scripts/install-nats-server.sh)}" || exit 1; \
	export NATS_SERVER_BIN; RINGBUS_FUZZ_CASES=$(or $(DIALOGUES),4000) \
	  $(CARGO) test --profile $(PROFILE) --package ringbus --test tests random_dialogues

bench: need-cargo
	@$(CARGO) run --release --package ringbus-bench -- $(ARGS)

# ringbus, both nats-servers, the floor, Redis and Valkey, scenario by scenario, beside the targets.
# `make bench-compare ARGS="--rows one-16,fan-100"` takes some rows, `ARGS=--shards` one shard and two.
bench-compare: need-cargo
	@scripts/bench-compare.sh $(ARGS)

# The same with nats.go's own nats-bench as the load.
bench-nats: need-cargo
	@scripts/bench-nats-bench.sh $(ARGS)

# What the engine costs in instructions, against the baseline in the repository; and writing that anew.
gate: need-cargo
	@scripts/instruction-gate.sh

gate-baseline: need-cargo
	@scripts/instruction-gate.sh --update

# Instructions and ring traffic of the engine with 1, 2, 4 and 8 shards, without sockets.
bench-shards: need-cargo
	@scripts/bench-shards.sh $(ARGS)

# What it costs to sample subjects, to be scraped, and to have the dashboard open.
bench-metrics: need-cargo
	@scripts/bench-metrics.sh $(ARGS)

# Nanoseconds of parser, sublist, ring, emit and step. `make microbench ARGS=emit` takes one part.
microbench: need-cargo
	@$(CARGO) bench --package ringbus-engine-bench --bench micro -- $(ARGS)

# The official clients' own programs and tests against ringbus.
compat: build
	@scripts/compat.sh

.PHONY: need-cargo
need-cargo:
	@command -v $(CARGO) >/dev/null 2>&1 || { \
	  echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null 2>&1 || { \
	  echo "a C linker is missing: apt-get install build-essential" >&2; exit 1; }
