"""Builds a shared library that stands in for the driver's, so that programs of all kinds read the same GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def build(folder: Path) -> dict[str, str] | None:
    """Build `libnvidia-ml.so.1` in a folder.

    Returns:
        What the environment of a program needs so that it loads this one; None without a C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source = Path(__file__).with_name("nvml_library.c")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(target), str(source)], check=True)
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": f"{folder}:{path}" if path else str(folder)}
