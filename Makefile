# make demo | test | lint | bench | soak: each sets up .venv first where that is needed. `make` alone lists the targets.

PYTHON ?= python3.11
INPUT ?=
OUT ?= out
# One more than the cores of a small machine: tests of nodes mostly wait.
JOBS ?= 3
SOAK_SECONDS ?= 750
SOAK_EXAMPLES ?= 2000

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin

# What the wheels do not set by themselves, and isolation: two runs side by side, or a robot on the same network, must
# not hear each other. Assigned here and not taken from the environment; `make demo ROS_DOMAIN_ID=7` still works.
export AMENT_PREFIX_PATH := $(VENV)
export ROS_DOMAIN_ID := $(shell echo $$(( $$$$ % 100 + 1 )))
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export RMW_IMPLEMENTATION := rmw_fastrtps_cpp
# Camera images do not get through Fast DDS's default transports.
export FASTDDS_DEFAULT_PROFILES_FILE := $(CURDIR)/config/fastdds.xml
export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
# A sourced ROS installation is for another interpreter. The guard variable without its library path breaks the wheels.
unexport PYTHONPATH PYTHONHOME ROS_STATIC_PEERS _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Packages are installed without their compiled modules: the first process that imports one stores it for the others.
unexport PYTHONDONTWRITEBYTECODE
ifdef ROS_DISTRO
unexport ROS_DISTRO LD_LIBRARY_PATH
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint pytest bench soak lock digests clean distclean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: ## .venv: pinned packages, ROS 2, this package built into it
	@"$(PYTHON)" -c '' 2>/dev/null || { echo "error: no $(PYTHON): install it (Debian 12: apt install python3.11 python3.11-venv python3.11-dev), or name another one with PYTHON= (Ubuntu 24.04: make PYTHON=python3.12)" >&2; exit 1; }
	@"$(PYTHON)" tools/setup_environment.py

demo: setup ## clip, camera topic, node, messages, overlay video; INPUT=photo|folder|video|0 for your own images
	@"$(BIN)/python" -P -m hand_recon_ros.ros.demo.launcher --out "$(OUT)/demo" --input "$(INPUT)"

test: lint pytest ## lint, type check, tests

lint: setup ## ruff (rules and format) and mypy
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check --quiet .
	@"$(BIN)/mypy"

# Processes whose OpenMP threads wait for each other's cores take twice as long.
pytest: setup ## tests only; ARGS="test/test_camera.py -k project" picks some, JOBS=1 runs one at a time
	@OMP_NUM_THREADS=1 "$(BIN)/pytest" -p xdist -n $(JOBS) --dist loadfile --max-worker-restart 0 $(ARGS)

bench: setup ## latency and throughput, beside installed peers; also in out/bench.json
	@mkdir -p "$(OUT)"
	@"$(BIN)/hand-recon" benchmark --json > "$(OUT)/bench.json.part"
	@mv "$(OUT)/bench.json.part" "$(OUT)/bench.json"

soak: setup ## node under load and faults for SOAK_SECONDS=750, parsers with random input; table in out/soak
	@"$(BIN)/python" tools/soak.py --seconds "$(SOAK_SECONDS)" --out "$(OUT)/soak" --clips "$(OUT)/clips"
	@HAND_RECON_FUZZ_EXAMPLES="$(SOAK_EXAMPLES)" "$(BIN)/pytest" -q test/test_fuzz_*.py

lock: ## resolve requirements.in anew into requirements.lock
	@"$(PYTHON)" tools/lock_requirements.py

digests: ## renew the sha256 of the bundled networks and hand models, after one of them was replaced
	cd hand_recon_ros/assets && sha256sum *.onnx hand/*.npz > SHA256SUMS

clean: ## remove outputs and caches
	rm -rf out build install log hand_recon_ros.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## also remove .venv
	rm -rf .venv .venv.lock
