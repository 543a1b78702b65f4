# `make demo` and `make test` are complete from a fresh clone: they make their own virtual
# environment in .venv with pinned versions. Elsewhere than on Linux x86-64, or for CUDA builds,
# choose another torch: make test TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'

PYTHON ?= python3
TORCH ?= torch==2.13.0
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
# Compiled by all cores at the end: pip would take one.
PIP := --quiet --disable-pip-version-check --no-compile
SPOKES := exporters runtimes benchmarks
READY := $(VENV)/.ready
KERNELS := runtimes/_kernels.abi3.so
# The site needs neither torch nor samdeploy itself, so it has a small environment of its own.
DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/.ready
DOCS := mkdocs-material 'mkdocstrings[python]' ruff
WEB := runtimes/web
WEB_READY := $(WEB)/node_modules/.ready
CHROMIUM ?= /usr/bin/chromium
CPP := $(CURDIR)/build/cpp
CPP_TOOLS := $(CPP)/.tools
# Debian's packages, those of one rule at a time.
APT = mkdir -p build && flock build/.apt sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends $(1)'

.PHONY: environments demo quick test test-full test-overnight lint types wheel wheel-test dist docs web web-test web-page web-demo cpp cpp-all clean

# All that is installed, side by side with `make -j4`.
environments: $(READY) $(WEB_READY) $(DOCS_READY) $(CHROMIUM) $(CPP_TOOLS)

demo: $(READY)
	$(BIN)/python tools/demo.py

# Two processes of one thread each: most tests are not long enough to gain from more threads.
test: lint types $(KERNELS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not full_size'

# While working: everything but what writes bundles or starts programs.
quick: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not exporting and not slow and not full_size'

# What exports for long, and SAM 2.1 at 1024 pixels, as CI does.
test-full: $(READY) $(KERNELS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m '(slow or full_size) and not overnight'

# The rest: other models at 1024 pixels, formats that differ little, and what takes a minute a piece.
test-overnight: $(READY) $(KERNELS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m overnight

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Laid out as it is installed: the spokes inside the package. ROS 2 cannot be installed here: its node is checked
# against stand-ins for ROS's packages.
ROS_TYPES = $(CURDIR)/runtimes/ros2/samdeploy_ros:$(CURDIR)/tests/ros2/fakes
MYPY = MYPYPATH=$(ROS_TYPES) $(abspath $(BIN))/mypy --config-file ../../pyproject.toml -p samdeploy -p samdeploy_ros
# In two processes; where other work keeps those from starting in time (status 2), in one.
types: $(READY)
	@rm -rf build/types/samdeploy && mkdir -p build/types/samdeploy
	@ln -s $(abspath $(wildcard samdeploy/*)) $(abspath $(SPOKES)) build/types/samdeploy
	cd build/types && { $(MYPY) --num-workers 2 || { test $$? = 2 && $(MYPY); } }

wheel: $(READY)
	$(BIN)/python -m build --wheel --outdir dist

# What a release uploads, and whether a package index would take it.
dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	rm -rf samdeploy.egg-info  # its entry points would hide newer ones
	$(BIN)/python -m twine check --strict dist/*

# The built wheel by itself, as a user has it.
wheel-test: dist
	tools/check_wheel.sh

# The documentation site, in build/site. Any warning is an error; nothing is fetched while it builds.
docs: $(DOCS_READY)
	PATH="$(CURDIR)/$(DOCS_VENV)/bin:$$PATH" NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

# The TypeScript runtime as its package has it, in runtimes/web/dist.
web: $(WEB_READY)
	cd $(WEB) && npm run --silent build

# Its types, and its answers beside Python's: in Node, and in Chromium on WASM and on WebGPU in software.
web-test: web $(CHROMIUM) $(READY) web-page build/web/cases.json
	@git diff --exit-code --stat -- samdeploy/assets/page && test -z "$$(git ls-files --others samdeploy/assets/page)" || \
	  { echo "samdeploy/assets/page is not what its source gives; commit what 'make web-page' wrote."; exit 1; }
	cd $(WEB) && npm run --silent types
	cd $(WEB) && CHROMIUM=$(CHROMIUM) npm test

# The page for browsers: from its source in runtimes/web/page to what is committed.
web-page: $(WEB_READY)
	cd $(WEB) && npx tsc -p page && npx vitest run --root page && npx vite build page --logLevel warn

# The shipped model in a site, used in Chromium as a visitor does; see docs/web-page.md.
DEMO := $(CURDIR)/build/web-demo
web-demo: $(READY) $(CHROMIUM) web-page
	rm -rf $(DEMO)
	$(BIN)/samdeploy export model=sam_tiny.pt format=onnx output=$(DEMO)/model
	$(BIN)/samdeploy web model=$(DEMO)/model output=$(DEMO)/site runtime=$(WEB)/node_modules/onnxruntime-web
	cd $(WEB) && SITE=$(DEMO)/site OUTPUT=$(DEMO)/seen CHROMIUM=$(CHROMIUM) SAMDEPLOY=$(abspath $(BIN))/samdeploy node --test --test-reporter=spec page/e2e/page.test.mjs
	$(BIN)/python tools/check_web_demo.py $(DEMO)/model $(DEMO)/site $(DEMO)/seen
	@echo "look at it: python3 -m http.server --directory build/web-demo/site"

# The C++ runtime beside Python's answers, under two sanitizers; see docs/cpp.md. On ONNX Runtime alone: OpenVINO's
# threads library loads a part of itself in a way that AddressSanitizer refuses. With clang++ and without optimization,
# since g++ needs five times as long for instrumented code.
PACKAGES = $(shell $(BIN)/python -c 'import openvino, os; print(os.path.dirname(os.path.dirname(openvino.__file__)))')
CPP_CONFIGURE = cmake -G Ninja -S runtimes/cpp -DONNXRUNTIME_ROOT=$(CPP)/onnxruntime -DSAMDEPLOY_TESTS=ON \
  -DCASES=$(CPP)/cases -DOpenVINO_DIR=$(PACKAGES)/openvino/cmake
CPP_FLAGS = -DCMAKE_C_FLAGS="-Wall -Wextra -Werror $(1)" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror $(1)"
# By flags.
CPP_SANITIZED = $(CPP_CONFIGURE) -DSAMDEPLOY_OPENVINO=OFF -DCMAKE_BUILD_TYPE=None -DCMAKE_C_COMPILER=clang \
  -DCMAKE_CXX_COMPILER=clang++ \
  $(call CPP_FLAGS,-gline-tables-only $(1) -fno-sanitize-recover=all \
  -fsanitize-ignorelist=$(CURDIR)/runtimes/cpp/tests/uninstrumented.txt)
CPP_TEST := ctest -j 2 --output-on-failure --test-dir
cpp: $(CPP)/.ready build/web/cases.json
	$(call CPP_SANITIZED,-fsanitize=address -fsanitize=undefined) -B $(CPP)/checked
	cmake --build $(CPP)/checked
	$(CPP_TEST) $(CPP)/checked

# The rest: ThreadSanitizer, and g++ and clang++ as a user builds, on both backends.
cpp-all: cpp $(CPP)/cases/openvino/cases.json
	clang-format --dry-run --Werror $$(git ls-files 'runtimes/cpp/*.[ch]' 'runtimes/cpp/*.[ch]pp')
	$(call CPP_SANITIZED,-fsanitize=thread -O1) -B $(CPP)/threads
	cmake --build $(CPP)/threads --target threads_test
	TSAN_OPTIONS=suppressions=$(CURDIR)/runtimes/cpp/tests/threads.supp $(CPP_TEST) $(CPP)/threads -R threads
	$(CPP_CONFIGURE) -B $(CPP)/gcc -DCMAKE_CXX_COMPILER=g++ $(call CPP_FLAGS)
	cmake --build $(CPP)/gcc
	$(CPP_TEST) $(CPP)/gcc
	$(CPP_CONFIGURE) -B $(CPP)/clang -DCMAKE_CXX_COMPILER=clang++ $(call CPP_FLAGS)
	cmake --build $(CPP)/clang
	$(CPP_TEST) $(CPP)/clang

$(CPP_TOOLS):
	@command -v ninja cmake g++ clang++ clang-format >/dev/null && test -d /usr/include/nlohmann -a -d /usr/include/stb \
	  -a "$$(clang++ -print-file-name=libclang_rt.asan-x86_64.a)" != libclang_rt.asan-x86_64.a || \
	  { $(call APT,cmake ninja-build g++ clang clang-format llvm libclang-rt-dev nlohmann-json3-dev libstb-dev); }
	mkdir -p $(@D) && touch $@

# The ONNX Runtime of the Python package as CMake looks for it.
$(CPP)/.ready: $(READY) $(CPP_TOOLS)
	mkdir -p $(CPP)/onnxruntime/lib $(CPP)/cases
	ln -sf $(PACKAGES)/onnxruntime/capi/libonnxruntime.so.* $(CPP)/onnxruntime/lib/libonnxruntime.so
	ln -sf libonnxruntime.so $(CPP)/onnxruntime/lib/libonnxruntime.so.1
	ln -sfn $(CURDIR)/build/web $(CPP)/cases/onnxruntime
	touch $@

# What Python answers: on ONNX Runtime for the TypeScript runtime too.
CASES_SOURCES := tools/web_cases.py $(shell git ls-files 'samdeploy/*.py' 'exporters/*.py' 'runtimes/*.py' 2>/dev/null)
build/web/cases.json: $(READY) $(CASES_SOURCES)
	PYTHONPATH=tests $(BIN)/python tools/web_cases.py build/web

$(CPP)/cases/openvino/cases.json: $(READY) $(CASES_SOURCES)
	PYTHONPATH=tests $(BIN)/python tools/web_cases.py $(@D) openvino

# Only the processor's library is needed; the other downloads of onnxruntime-node are GPU libraries.
$(WEB_READY): $(WEB)/package.json $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed; install Node 20 or newer (nodejs.org)."; exit 1; }
	cd $(WEB) && ONNXRUNTIME_NODE_INSTALL=skip npm ci --no-audit --no-fund
	touch $@

$(CHROMIUM):
	@test "$$(id -u)" = 0 || { echo "no browser at $@; install Debian's chromium, or say CHROMIUM=path"; exit 1; }
	$(call APT,chromium)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@command -v g++ clang++ >/dev/null || test "$$(id -u)" != 0 || { $(call APT,g++); }  # for the kernels
	$(BIN)/pip install $(PIP) $(TORCH)
	$(BIN)/pip install $(PIP) -c constraints.txt -e '.[$(EXTRAS)]'
	rm -rf samdeploy.egg-info  # of an earlier build: its entry points would hide the new ones
	$(BIN)/python -W ignore -m compileall -qq -j 0 -x '/tests?/' $(VENV) || true  # some packages bring files of other Pythons
	touch $(READY)

# Built when samdeploy is installed, and again when their source is newer.
$(KERNELS): $(READY) $(wildcard runtimes/cpp/kernels/*)
	$(BIN)/pip install $(PIP) --no-deps -e .
	rm -rf samdeploy.egg-info
	test -e $@ && touch $@

$(DOCS_READY): pyproject.toml constraints.txt
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install $(PIP) -c constraints.txt $(DOCS)
	touch $(DOCS_READY)

clean:
	rm -rf build dist runs $(VENV) $(DOCS_VENV) $(WEB)/node_modules $(WEB)/dist
