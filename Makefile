# make demo    paint the road on a rendered drive: a video, a contact sheet, a table
# make test    run the tests
# make lint    ruff, mypy --strict, import-linter
# make test-lowest    the tests that need no PyTorch, on the lowest versions that setup.cfg admits
# Each makes its own virtual environment and installs what it needs.

PYTHON ?= python3
# PyPI's torch for Linux brings CUDA with it; name a CPU build here where you have one.
TORCH ?= torch==2.13.0
PYTEST ?=

SOURCES := setup.cfg pyproject.toml

.PHONY: demo test test-lowest lint clean

define checked_python
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "make: $(PYTHON) is not Python 3.11 to 3.13: run 'make $@ PYTHON=python3.11'" >&2; exit 1; }
endef

.venv-demo/ready: $(SOURCES)
	$(checked_python)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# albumentations brings OpenCV without windows, over the one with: put the latter back on top.
.venv-test/ready: $(SOURCES)
	$(checked_python)
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train,report,ray,int8,test,lint]'
	.venv-test/bin/python -m pip uninstall --quiet --yes opencv-python-headless
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps opencv-python
	touch $@

demo: .venv-demo/ready
	mkdir -p demo
	.venv-demo/bin/rtseg-live demo --headless --limit 300 --capture-size 960x540 \
		--record demo/road.mp4 --sheet demo/road.png --stats demo/road.json
	@echo
	@echo "demo/road.mp4   the painted video: open it in a browser"
	@echo "demo/road.png   twelve of its pictures"
	@echo "demo/road.json  what was measured"

test: .venv-test/ready
	.venv-test/bin/python -m pytest -n auto --dist worksteal $(PYTEST)

.venv-lowest/ready: $(SOURCES) tests/lowest.txt
	$(checked_python)
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/lowest.txt \
		--editable '.[onnxruntime]' onnx pytest hypothesis
	touch $@

test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python -m pytest --ignore tests/test_benchmarks.py $(PYTEST)

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports --config setup.cfg

clean:
	rm -rf .venv-demo .venv-test .venv-lowest demo build rtseg.egg-info
