"""A stand-in for nvidia-smi: it prints published output, and refuses columns that it does not know as the real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures" / "nvidia_smi"
_PROGRAM = """#!{python} -S
import json, sys, time
given = json.load(open({facts!r}))
asked = dict(one.lstrip("-").partition("=")[::2] for one in sys.argv[1:])
time.sleep(given["seconds"])
if given["words"]:
    sys.stdout.write(given["words"])
    sys.exit(given["code"])
kind = "query-gpu" if "query-gpu" in asked else "query-compute-apps"
head, *rows = given[kind]
for name in asked[kind].split(","):
    if name not in head:
        print('Field "%s" is not a valid field to query.\\n' % name)
        sys.exit(2)
for row in rows:
    print(", ".join(row[head.index(name)] for name in asked[kind].split(",")))
"""


def rows(name: str) -> list[list[str]]:
    """Return a published table, its head first."""
    text = (FIXTURES / f"{name}.csv").read_text(encoding="utf-8")
    return [line.split(", ") for line in text.splitlines()]


def write_smi(
    folder: Path,
    *names: str,
    apps: Sequence[tuple[int, int]] = (),
    unknown: Sequence[str] = (),
    words: str = "",
    code: int = 9,
    seconds: float = 0.0,
) -> None:
    """Write the program into a folder; a later call changes what it says.

    Args:
        names: The published GPUs that it tells of, one after the other.
        apps: Processes on GPUs: index and pid.
        unknown: Columns that it does not know.
        words: All that it says, in place of a table.
    """
    tables = [rows(name) for name in names]
    head = tables[0][0] if tables else ["index"]
    gpus = [[str(at), f"GPU-0000000{at}", *table[1][2:]] for at, table in enumerate(tables)]
    kept = [at for at, column in enumerate(head) if column not in unknown]
    facts = {
        "query-gpu": [[row[at] for at in kept] for row in (head, *gpus)],
        "query-compute-apps": [
            ["gpu_uuid", "pid", "used_gpu_memory"],
            *([f"GPU-0000000{index}", str(pid), "2566 MiB"] for index, pid in apps),
        ],
        "words": words,
        "code": code,
        "seconds": seconds,
    }
    folder.mkdir(exist_ok=True)
    (folder / "smi.json").write_text(json.dumps(facts), encoding="utf-8")
    program = folder / "nvidia-smi"
    program.write_text(_PROGRAM.format(python=sys.executable, facts=str(folder / "smi.json")), encoding="utf-8")
    program.chmod(0o755)
