# Two commands matter: `make sweep` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# setuptools warns at every editable install that folders here have the packages' names, which is the point of it.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet
IMAGES := examples/twemoji/images

.PHONY: chaos sweep test test-fast lint plain-install bench experiments source stylegan2 stylegan2-source clean

sweep: $(VENV)/.demo  ## run the demo: fine-tune an emoji-face generator, on real pictures and real weights
	$(BIN)/python examples/twemoji/images.py $(IMAGES)
	$(BIN)/gansweep run examples/twemoji/sweep.yaml

test: $(VENV)/.test  ## all tests: those that start Ray one after another in one process, the others beside them in a second
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

test-fast: $(VENV)/.test  ## tests that take less than about ten seconds each
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.test  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

plain-install:  ## the wheel in a fresh environment without the test extra: the demo, a paired task, export, sample, apply, metrics
	tests/plain_install.sh $(PYTHON)

bench: $(VENV)/.test  ## benchmarks; each prints ratios measured side by side
	$(PIP) -e '.[bench]'
	for name in data_cache metrics_distance metrics_memory metrics_throughput training_step matrix_peak evaluation_interval gpu modulated_conv shared_trunk warm_groups driver_scale beside_tune soak; do $(BIN)/python -m tests.benchmarks.$$name || exit 1; done

chaos: $(VENV)/.test  ## a hundred faults at random through one sweep (half an hour; as root, for it fills a disk of its own)
	$(BIN)/python -m tests.chaos

experiments: $(VENV)/.demo  ## run the experiments of docs/experiments.md and write its tables
	$(PIP) -e '.[experiments]'
	$(BIN)/python examples/twemoji/images.py $(IMAGES)
	$(BIN)/python -m examples.experiments.pretraining
	$(BIN)/python -m examples.experiments.paired
	$(BIN)/python -m examples.experiments.stylegan2

stylegan2: $(VENV)/.demo  ## fine-tune a small StyleGAN2 to two targets, searching what of it is trained (a quarter of an hour)
	$(PIP) -e '.[experiments]'
	$(BIN)/python examples/twemoji/images.py $(IMAGES)
	$(BIN)/python -m examples.experiments.pictures examples/stylegan2/digits
	$(BIN)/gansweep run examples/stylegan2/smileys.yaml
	$(BIN)/gansweep run examples/stylegan2/digits.yaml

stylegan2-source: $(VENV)/.demo  ## train that small StyleGAN2 anew
	$(BIN)/python examples/twemoji/images.py $(IMAGES)
	$(BIN)/python examples/stylegan2/train_source.py $(IMAGES)/others

source: $(VENV)/.demo  ## train the demo's source checkpoint anew (about an hour on two cores)
	$(BIN)/python examples/twemoji/images.py $(IMAGES)
	$(BIN)/python examples/twemoji/train_source.py $(IMAGES)/others

clean:  ## remove the environment and the demo's pictures
	rm -rf $(VENV) $(IMAGES) examples/stylegan2/digits

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; run: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) -e '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.demo pyproject.toml
	$(PIP) -e '.[demo,test,lint]'
	touch $@
