"""What holds for every test: nobody's home is touched, and the way pytest was started does not matter."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

import pytest
from hypothesis import settings

# A slow machine fails nothing; what CI tries is the same each time, what a developer tries is new each time.
settings.register_profile("studio", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("studio")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start two workers for each core: most tests wait for processes and pictures half of their time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background of a script, SIGINT is ignored here and would be in every child: ctrl+c is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("VLLM_STUDIO_")]:
        if not name.startswith("VLLM_STUDIO_TEST_"):
            del os.environ[name]
    # Without what was compiled before, each of hundreds of processes would compile all that it imports.
    # A Ray of the developer is not asked either.
    for name in ("COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS", "RAY_DASHBOARD_ADDRESS"):
        os.environ.pop(name, None)
    sys.dont_write_bytecode = False
    home = tempfile.TemporaryDirectory(prefix="vllm-studio-tests-")
    config.add_cleanup(home.cleanup)
    os.environ["VLLM_STUDIO_HOME"] = home.name
