# Vivid: the commands people use. Each installs what it needs; see scripts/need.

export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: run test check player bench bench-parts fuzz clean

# Start a whole CDN on this machine, with a test source and a player page.
run: player
	@scripts/need cargo ffmpeg
	cargo build --release --locked --bin vivid
	@scripts/need libraries target/release/vivid
	exec target/release/vivid dev $(ARGS)

# All tests: unit, loopback and browser. Ends with the test runner's own closing line.
test: player
	@scripts/need cargo ffmpeg ffmpeg-cli nginx chromium
	cd player && npm test
	cargo build --workspace --locked --all-targets
	cargo test --workspace --locked

# What must be clean before a change lands.
check: player
	@scripts/need cargo ffmpeg cargo-deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --locked -p tests --test tidy
	cargo deny --offline check bans licenses sources
	cd player && npm run check

# The page that `vivid` carries.
player: player/dist/index.html
player/dist/index.html: $(shell find player -path player/node_modules -prune -o -path player/dist -prune -o -type f -print 2>/dev/null)
	@scripts/need node
	cd player && npm ci --no-audit --no-fund && npm run build
	@touch $@

# Every case, beside the peers: see docs/benchmarks.md.
bench:
	cargo run --release --locked -p bench -- $(or $(ARGS),edge)

# What the benchmark measures: the program, and peers where they can be installed. The benchmark itself asks for it.
bench-parts: player
	@scripts/need cargo ffmpeg
	-@scripts/need bench
	cargo build --release --locked --bin vivid

clean:
	rm -rf target player/dist player/node_modules
