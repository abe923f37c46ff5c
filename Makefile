# Entry points only; the work is done by scripts/.
PYTHON ?= python3
VENV = build/venv/bin
C_FILES = $$(find usermod_tinyprop ports -name '*.[ch]')

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build build-asan repl firmware natmod sim boards flash deploy monitor test demo bench size experiments table lint format clean

help:  ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup:  ## Install what the whole suite needs (Debian packages as root, build/venv)
	@$(PYTHON) scripts/setup_env.py test

# FEATURES=dense leaves out all but dense float32 networks, FEATURES=all (the default) nothing.
WITH_FEATURES = $(addprefix --features ,$(FEATURES))

build:  ## Build build/bin/micropython: MicroPython's unix port with tinyprop
	@$(PYTHON) scripts/build_unix.py $(WITH_FEATURES)

build-asan:  ## Build build/bin/micropython-asan: the same with sanitizers
	@$(PYTHON) scripts/build_unix.py --sanitize

repl: build  ## Open a prompt with tinyprop imported as tp
	@build/bin/micropython -i -c 'import tinyprop as tp'

# RAM_KERNELS=1: the hottest integer loops of the RP2040 run from RAM.
firmware:  ## Build a board's firmware: make firmware PORT=rp2 BOARD=RPI_PICO (FEATURES=dense: smaller)
	@$(PYTHON) scripts/firmware.py $(or $(PORT),rp2) $(BOARD) $(WITH_FEATURES) \
		$(if $(filter 1,$(RAM_KERNELS)),--ram-kernels)

natmod:  ## Build the native module: make natmod ARCH=x64, or all (FEATURES=dense: smaller)
	@$(PYTHON) scripts/build_natmod.py $(or $(ARCH),x64) $(WITH_FEATURES)

sim:  ## Run a board's firmware in an emulator: make sim BOARD=RPI_PICO (QEMU: ICOUNT=1)
	@$(PYTHON) scripts/sim.py $(or $(BOARD),RPI_PICO) $(if $(ICOUNT),--icount)

DEPLOY = $(PYTHON) scripts/setup_env.py build && $(VENV)/python scripts/deploy.py
BOARD_AT = $(addprefix --device ,$(DEVICE)) $(addprefix --board ,$(BOARD)) $(if $(DRY_RUN),--dry-run)

boards:  ## List the boards there are
	@$(DEPLOY) boards $(addprefix --device ,$(DEVICE))

flash:  ## Put the firmware on a board: make flash BOARD=RPI_PICO
	@$(DEPLOY) flash $(BOARD_AT) $(addprefix --firmware ,$(FIRMWARE)) $(addprefix --drive ,$(DRIVE))

deploy:  ## Copy files to a board, and tinyprop if it lacks it: make deploy FILES="main.py data"
	@$(DEPLOY) deploy $(BOARD_AT) $(addprefix --with ,$(WITH)) $(addprefix --module ,$(MODULE)) \
		$(addprefix --to ,$(TO)) $(if $(RESET),--reset) $(FILES)

monitor:  ## Show a board's output and prompt (Ctrl-X ends)
	@$(DEPLOY) monitor $(addprefix --device ,$(DEVICE))

test: setup build build-asan  ## Set up and build everything, then run all tests
	@$(VENV)/python -m pytest host_tests

demo:  ## Train a small network, here and now
	@$(PYTHON) scripts/setup_env.py build
	@$(VENV)/python scripts/demo.py

bench: setup  ## Measure; results go to build/bench/
	@$(VENV)/python scripts/bench.py

size: setup  ## Flash and RAM use per part
	@$(VENV)/python scripts/size.py

experiments: setup  ## Train and compare policies: make experiments SET=quick DATA=folder
	@$(VENV)/python scripts/experiments/run.py $(or $(SET),quick) $(if $(ON),--on $(ON)) $(ARGS)

table: setup  ## The table of docs/results.md: the experiments SET=mlp
	@$(VENV)/python scripts/experiments/run.py mlp

lint: setup  ## Check the style of all C and Python files
	@$(VENV)/ruff check . && $(VENV)/ruff format --check .
	@$(VENV)/clang-format --dry-run -Werror $(C_FILES)

format: setup  ## Bring all C and Python files into style
	@$(VENV)/ruff check --fix . && $(VENV)/ruff format .
	@$(VENV)/clang-format -i $(C_FILES)

clean:  ## Remove what was built (not the fetched sources nor build/venv)
	@mkdir -p build
	@find build -mindepth 1 -maxdepth 1 ! -name src ! -name venv -exec rm -rf {} +
