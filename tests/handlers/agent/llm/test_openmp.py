"""The OpenMP library that is lent to llama.cpp where the system has none."""

from __future__ import annotations

import subprocess
import sys

LENT = """
import ctypes
from handlers.agent.llm.openmp import provide_openmp

NAME = "libgomp.so.77"  # one that no system has
try:
    ctypes.CDLL(NAME)
    raise SystemExit("there is such a library")
except OSError:
    pass
provide_openmp(NAME)
print(ctypes.CDLL(NAME).omp_get_max_threads() > 0)
"""


def test_it_is_found_by_its_name_afterwards() -> None:
    """In a process of its own: what is loaded stays loaded."""
    result = subprocess.run([sys.executable, "-c", LENT], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip() == "True", result.stderr
