# Everything a person or CI does with this checkout. The build itself is Meson's (meson.build, src/*/meson.build).

PREFIX ?= /usr/local
DESTDIR ?=
BUILD := build
DATA ?= fullscale-data
export DATA PREFIX DESTDIR

.DEFAULT_GOAL := build
.PHONY: help build run unit test check static tidy fmt fuzz goldens bench bench-scale bench-agree bench-relay bench-policy bench-small
.PHONY: install uninstall clean packages deb lint

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

build: ## build/fullscale and build/fullscale-bench; installs what is missing and says so
	@tools/install-packages build
	@tools/build $(BUILD) src/fullscale src/fullscale-bench
	@for name in fullscale fullscale-bench; do test -e $(BUILD)/$$name || ln -sfn src/$$name $(BUILD)/$$name; done

run: build ## builds and serves on port 8080; data in ./fullscale-data
	@tools/serve "$$DATA"

unit: ## unit tests that take seconds, under ASan and UBSan; no root, no Go, no network
	@tools/install-packages build unit
	@tools/run-tests quick

test: ## all test suites, quick and slow; the last line is `N passed, N failed`
	@tools/install-packages build unit test
	@tools/run-tests

check: ## what CI runs: static checks, warnings as errors with gcc and clang, all tests
	@.ci/run

lint: ## format, include layers, house rules, gcc and clang without a warning
	@tools/install-packages build unit test check
	@tools/check-static

tidy: ## clang-tidy over src/
	@tools/install-packages build unit test check
	@tools/check-tidy

fmt: ## clang-format over src/ and tests/
	@tools/install-packages check
	@git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]' | xargs clang-format-19 -i

fuzz: ## fuzz targets only; FUZZ_SECONDS=600 make fuzz
	@tools/install-packages build unit test
	@tools/run-tests fuzz

goldens: build ## policies and what Tailscale's service answered, from a folder: make goldens DIR=path
	@tools/build $(BUILD) tests/policy_goldens
	@$(BUILD)/tests/policy_goldens $(or $(DIR),$(GOLDENS_DIR),$(wildcard ../shared/goldens/policy))

bench: ## load figures, written to docs/benchmarks.md (needs Go); BENCH_ARGS='--nodes 100' only prints
	@tools/install-packages build
	@tests/bench/run $(BENCH_ARGS)

bench-scale: ## 300 to 10,000 nodes beside the targets, and how costs grow, written to docs/benchmarks.md (20 minutes)
	@tools/install-packages build
	@tests/bench/scale $(BENCH_ARGS)

bench-agree: ## `fullscale-bench` beside tests/loadgen, written to docs/benchmarks.md (needs Go; 8 minutes)
	@tools/install-packages build
	@tests/bench/agree $(BENCH_ARGS)

bench-relay: ## relay and STUN beside derper, written to docs/benchmarks.md (needs Go)
	@tools/install-packages build
	@tests/bench/relay $(BENCH_ARGS)

bench-policy: build ## the policy engine with 1,000 to 30,000 nodes, written to docs/benchmarks.md
	@tools/build $(BUILD) tests/policy_bench
	@tests/bench/run-policy $(BUILD)/tests/policy_bench

bench-small: ## memory of 100 nodes in 64 MiB, size of the program, time to serve (needs root and Go)
	@tools/install-packages build
	@tests/bench/small $(BENCH_ARGS)

install: build ## program, man page, completions, systemd unit; honours PREFIX and DESTDIR
	@tools/install $(BUILD)/fullscale "$$DESTDIR" "$$PREFIX"

uninstall: ## takes away what make install put there; data and configuration stay
	@tools/install --uninstall "$$DESTDIR" "$$PREFIX"

deb: ## a Debian package of server and relay, in build-deb; PROGRAM=build-static/fullscale: without dependencies
	@[ -n "$(PROGRAM)" ] || $(MAKE) --no-print-directory build
	@tools/build-deb $(or $(PROGRAM),$(BUILD)/src/fullscale) build-deb

static: ## build-static/fullscale: server and relay without shared libraries, for machines that have none of them
	@tools/install-packages build
	@tools/build-static build-static

packages: ## installs the Debian packages for building, testing and checking
	@tools/install-packages build unit test check

clean: ## removes the build folders
	rm -rf build build-*
