# Everything happens in .venv, made when needed.
# On Linux without a GPU, TORCH_INDEX=<PyTorch's CPU index> saves gigabytes.
PYTHON ?= python3
BIN := .venv/bin
TORCH ?= torch==2.13.0
NAME ?= classroom
MATHJAX := docs/_mathjax/mathjax/tex-chtml.js
# Tests at a time, one core each.
JOBS ?= 2
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1
# pip would compile every module, three in four of which nothing imports: a minute. Python compiles what it imports, if it may.
PIP := $(BIN)/pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
# bitsandbytes wraps functions in torch.compile when imported, which loads the compiler: two seconds a process, for nothing.
run test test-again table quote: export TORCHDYNAMO_DISABLE ?= 1

.PHONY: run test lint test-again test-browser test-smol lab bench table quote docs slides badges clean

run: .venv/installed
	$(BIN)/python -m thinktuning_lite run --name $(NAME) $(if $(filter 1,$(FRESH)),--fresh)

test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --durations=25 --durations-min=1 tests
	OMP_NUM_THREADS=1 THINKTUNING_SMOKE=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --durations=10 --nbmake --nbmake-timeout=900 notebooks

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check thinktuning_lite tests benchmarks
	$(BIN)/mypy

# every cell of every notebook a second time, in order and backwards; and every student version once
test-again: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) -o addopts= tests/lessons/test_again.py tests/lessons/test_student_versions.py

test-browser: .venv/installed-dev
	$(PIP) -c constraints.txt -e ".[browser]"
	$(BIN)/python -m pytest -q -s -o addopts= tests/views/browser

# a real model, from an empty cache: fetched, one guided step, one answer; the Hub is asked first
test-smol: .venv/installed-dev
	HF_HUB_OFFLINE=0 $(BIN)/python -m pytest -q -s -o addopts= tests/models/test_smol_tier.py

lab: .venv/installed-dev
	$(BIN)/python -m thinktuning_lite lab

bench: .venv/installed
	$(BIN)/python benchmarks/sampler.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/inspector.py
	$(BIN)/python benchmarks/answers.py

table: .venv/installed-dev
	$(BIN)/python -m thinktuning_lite table --save data/logs/table

quote: .venv/installed
	$(BIN)/python -m thinktuning_lite quote --save data/logs/movie_quote

# the site, in docs/_build/html; warnings and dead links are errors
docs: .venv/installed-dev $(MATHJAX)
	$(PIP) -c constraints.txt -e ".[docs]"
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . docs/_build/html
	$(BIN)/python docs/links.py docs/_build/html

# a deck for each notebook, in docs/_build/slides
slides: .venv/installed-dev $(MATHJAX)
	mkdir -p docs/_build/slides/reveal.js
	npm pack --silent --pack-destination docs/_build reveal.js@4.6.0
	tar xzf docs/_build/reveal.js-4.6.0.tgz -C docs/_build/slides/reveal.js --strip-components=1 package/dist package/LICENSE
	cp -r docs/_mathjax/mathjax docs/_build/slides
	$(BIN)/python -m thinktuning_lite.lessons.slides docs/_build/slides

# MathJax and its fonts, by npm, once: so that the pages read offline
$(MATHJAX):
	mkdir -p docs/_build docs/_mathjax/mathjax
	npm pack --silent --pack-destination docs/_build mathjax@3.2.2
	tar xzf docs/_build/mathjax-3.2.2.tgz -C docs/_build package/es5/tex-chtml.js package/es5/output/chtml/fonts package/LICENSE
	cp -r docs/_build/package/es5/output docs/_build/package/LICENSE docs/_mathjax/mathjax
	cp docs/_build/package/es5/tex-chtml.js $@

badges: .venv/installed-dev
	$(BIN)/python -m thinktuning_lite.lessons.stamp $(if $(REPO),--repo $(REPO))

# runs/ stays: it is yours
clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -c constraints.txt -e ".[dev]"
	touch $@
