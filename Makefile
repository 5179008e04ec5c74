# The commands of the README and CONTRIBUTING. Everything is installed into .venv; nothing outside this folder changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_TESTS := build/tests

.PHONY: demo test bench bench-quick bench-calls bench-docs lint format stubs install clean test-metal

demo: install
	@$(BIN)/python examples/tinylm/demo.py $(DEMO_ARGUMENTS)

test: install cpp-tests
	@echo "== Python tests and documentation examples"
	@$(BIN)/python -m pytest -q tests/python
	@$(BIN)/python -m pytest -q --doctest-modules --pyargs metalhead
	@echo "== C++ tests"
	@$(BIN)/ctest --test-dir $(BUILD_TESTS) --output-on-failure -j2
	@echo "make test: everything passed"

$(BIN)/python:
	@echo "== making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.requirements: pyproject.toml | $(BIN)/python
	@echo "== installing build and test requirements"
	@$(BIN)/python -m pip install -q --disable-pip-version-check "scikit-build-core>=0.10" "nanobind>=2.4" "numpy>=2.0" \
	  "ml_dtypes>=0.4" cmake ninja "pytest>=8" "pytest-xdist>=3.5" "hypothesis>=6.100" "safetensors>=0.4"
	@touch $@

install: $(VENV)/.requirements
	@echo "== building and installing metalhead"
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall .

.PHONY: cpp-tests
cpp-tests: $(VENV)/.requirements
	@tools/install_packages.sh libgtest-dev
	@echo "== building the C++ tests"
	@PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B $(BUILD_TESTS) -G Ninja -DMETALHEAD_BUILD_TESTS=ON -DMETALHEAD_BUILD_PYTHON=OFF \
	  > $(BUILD_TESTS).log 2>&1 || { cat $(BUILD_TESTS).log; exit 1; }
	@$(BIN)/ninja -C $(BUILD_TESTS) --quiet

# The peers' own environment where it exists, else the one that everything uses.
BENCH_PYTHON = $(firstword $(wildcard build/bench-venv/bin/python) $(BIN)/python)
BENCH_JSON ?= build/bench/results.json

bench:
	@PYTHON="$(PYTHON)" benchmarks/install_peers.sh
	@benchmarks/build.sh build/bench-venv/bin/python
	@build/bench-venv/bin/python -m benchmarks run --json $(BENCH_JSON) $(BENCH_ARGUMENTS)

bench-quick: $(VENV)/.requirements
	@benchmarks/build.sh $(BENCH_PYTHON)
	@$(BENCH_PYTHON) -m benchmarks run --quick --json build/bench/quick.json $(BENCH_ARGUMENTS)

bench-calls: $(VENV)/.requirements
	@benchmarks/build.sh $(BENCH_PYTHON)
	@$(BENCH_PYTHON) -m benchmarks run --only calls $(BENCH_ARGUMENTS)

bench-docs:
	@build/bench-venv/bin/python -m benchmarks markdown $(BENCH_JSON) docs/performance.md
	@build/bench-venv/bin/python -m benchmarks chart $(BENCH_JSON) docs/decode_time.png

test-metal: install
	@MTL_DEBUG_LAYER=1 MTL_SHADER_VALIDATION=1 $(BIN)/python -m pytest -q tests/python --device metal

stubs: install
	@$(BIN)/python tools/make_stubs.py

format: $(VENV)/.requirements
	@$(BIN)/python -m pip install -q "ruff>=0.6" clang-format==19.1.7
	@git ls-files '*.h' '*.cpp' '*.mm' | xargs $(BIN)/clang-format -i
	@$(BIN)/ruff format python tests examples tools benchmarks
	@$(BIN)/ruff check --fix python tests examples tools benchmarks

lint: install
	@tools/lint.sh $(BIN)

clean:
	@rm -rf build .venv .cache
