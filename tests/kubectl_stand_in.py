"""A `kubectl` for tests without a cluster: it answers with what a real one did, and writes down what it was told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vllm_studio_tui.followers.system import Job

CAPTURED: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures" / "kubernetes" / "pods.json").read_text("utf-8")
)
_SCRIPT = r"""#!/bin/sh
cd {folder}
echo "$*" >> calls
case "$*" in
  *port-forward*) [ -e no-forward ] && exit 1; echo "Forwarding from 127.0.0.1:$(cat port) -> 8000"; exec sleep 60;;
  *"--follow"*) [ -e hangs ] || cat log; exec sleep 60;;
  *logs*) cat log; exit 0;;
  *apply*) cat > applied;;
esac
if [ -e said ]; then cat said >&2; exit 1; fi
case "$*" in
  *" events "*) cat events 2> /dev/null || echo '{{"items": []}}';;
  *" get "*) cat found;;
esac
"""


class KubectlStandIn:
    """A program at `program` that answers `get` with `show`n objects."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.program = folder, folder / "kubectl"
        self.program.write_text(_SCRIPT.format(folder=folder))
        self.program.chmod(0o755)
        self.put("log", "")
        self.put("port", "45001")
        self.show([])

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def show(self, items: list[dict[str, Any]]) -> None:
        self.put("found", json.dumps({"kind": "List", "items": items}))

    def say(self, words: str) -> None:
        """Fail with these words from now on; empty: answer again."""
        (self.folder / "said").unlink(missing_ok=True)
        if words:
            self.put("said", words)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def job(self, **plan: Any) -> Job:
        kinds = ["deployments.apps", "services"]
        own = {"kubectl": str(self.program), "name": "sim-1", "label": "sim-1", "kinds": kinds, "port": 8000}
        return Job(self.folder, "sim-1", {"kind": "kubernetes", "documents": [], **own, **plan}, "k8s:default/sim-1")
