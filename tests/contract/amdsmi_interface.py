"""What of the package amdsmi our reader stands on, taken from its source: it cannot be imported without ROCm.

`python tests/contract/amdsmi_interface.py FOLDER`, with the folder of the package, prints what
`tests/fixtures/amdsmi/interface.json` holds.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

READER = Path(__file__).parents[2] / "vllm_studio_tui" / "probes" / "gpu" / "amd.py"
ENUMS = {
    "AmdSmiTemperatureType": ("EDGE", "HOTSPOT", "VRAM"),
    "AmdSmiTemperatureMetric": ("CURRENT",),
    "AmdSmiClkType": ("GFX", "MEM"),
}
STATUS = (
    "INVAL", "NOT_SUPPORTED", "NOT_YET_IMPLEMENTED", "TIMEOUT", "NO_PERM", "NOT_FOUND", "NOT_INIT", "DRIVER_NOT_LOADED",
    "NO_DATA", "FILE_NOT_FOUND",
)  # fmt: skip


def used() -> list[str]:
    """The functions that our reader calls."""
    return sorted(set(re.findall(r'"(amdsmi_\w+)"', READER.read_text())))


def facts(package: Path) -> dict[str, Any]:
    """Parameters and keys of what each function returns, members of enumerations, numbers of errors."""
    tree = ast.parse((package / "amdsmi_interface.py").read_text())
    wrapper = (package / "amdsmi_wrapper.py").read_text()
    functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
    classes = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
    return {
        "functions": {
            name: {
                "parameters": [one.arg for one in functions[name].args.args],
                "keys": sorted(
                    {
                        key.value
                        for node in ast.walk(functions[name])
                        if isinstance(node, ast.Dict)
                        for key in node.keys
                        if isinstance(key, ast.Constant) and isinstance(key.value, str)
                    }
                ),
            }
            for name in used()
        },
        "enums": {
            name: [
                member
                for member in members
                if any(
                    isinstance(line, ast.Assign)
                    and isinstance(line.targets[0], ast.Name)
                    and line.targets[0].id == member
                    for line in classes[name].body
                )
            ]
            for name, members in ENUMS.items()
        },
        "status": {
            name: int(found[1])
            for name in STATUS
            if (found := re.search(rf"^AMDSMI_STATUS_{name} = (\d+)$", wrapper, re.MULTILINE))
        },
    }


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1])), indent=1))
