# Two commands on a machine with python3 (3.11 or newer) and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Files of tests at a time; `make test JOBS=0` takes them one by one.
JOBS ?= auto

# Tests start submeter some hundred times: without compiled files each start would compile all of it again.
export PYTHONDONTWRITEBYTECODE =

# The pure parts: tests that start no process, no proxy and no server of the simulator.
QUICK := arrows documents tidy audit_detail audit_facts audit_gate audit_history audit_least audit_pair \
	audit_reads audit_reconcile audit_settings audit_unknown audit_window cli_output cli_reasons cli_waiting \
	data_audit_words data_cadence data_call data_clock data_keys data_marks data_metrics_judge data_paths data_questions \
	data_read_lines data_usage_reader proxy_admission proxy_control proxy_decode proxy_endpoint \
	proxy_forwarding proxy_framing proxy_guesses proxy_json_body proxy_labels proxy_message_head proxy_meter \
	proxy_plain_chunks proxy_pure_parts proxy_request_body proxy_rewrite_request proxy_rewrite_stream \
	proxy_socket_meter proxy_sse proxy_usage

.PHONY: demo test quick lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/submeter demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

quick: $(VENV)/installed
	SUBMETER_TESTS=quick $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(QUICK:%=tests/test_%.py)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
