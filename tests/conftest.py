"""For every test: shapes and types of the mathematics are checked, and nothing is fetched from a hub."""

import gc
import os
import shutil
import sys
import tempfile

import pytest
from forked import SHARED
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from truing.core.garbage import keep_libraries

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRUING_CACHE"] = ""  # which library computes products is not measured: no result goes by the clock
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist has a process for each core already
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # which images set: what a hundred processes import is compiled once
sys.dont_write_bytecode = False
gc.disable()  # until all tests are gathered, of which none goes
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
_kept = 0
"""Modules that were there when it was last seen to that they stay"""
install_import_hook("truing.functional", "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """One directory for all workers, which begin with the variables of whoever starts them."""
    if not hasattr(config, "workerinput"):
        os.environ[SHARED] = tempfile.mkdtemp(prefix="truing-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ[SHARED], ignore_errors=True))


def pytest_collection_finish() -> None:
    _keep_what_is_imported()
    gc.enable()


def pytest_runtest_logfinish() -> None:
    if len(sys.modules) > _kept + 50:  # matplotlib, say, which the first report imports
        _keep_what_is_imported()


def _keep_what_is_imported() -> None:
    """What is there stays, so it need not be looked through whenever a stage of a run frees its memory."""
    global _kept
    _kept = len(sys.modules)
    gc.collect()
    keep_libraries()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """`truing run` in this process rehearses nothing and writes no report, for a test that reads neither."""
    from bare import leave_out

    leave_out(monkeypatch.setattr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Shows the lengths of files and functions once everything passes."""
    from architecture.lengths import length_report

    for line in length_report() if exitstatus == 0 else ():
        terminalreporter.write_line(line)
