"""What `sky` prints, read: JSON after other words, and the tables of SkyServe, which has no JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.job import Part

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: What jobs and clusters go through before the engine runs, in words.
JOBS = {
    "INIT": "its job is made",
    "PENDING": "its job waits for its turn on the machines",
    "SETTING_UP": "its setup runs",
}
FAILED_JOBS = {
    "FAILED": "the engine ended",
    "FAILED_SETUP": "its setup failed",
    "FAILED_DRIVER": "what SkyPilot runs it by failed",
    "SUCCEEDED": "the engine ended, without an error",
    "CANCELLED": "its job was cancelled",
}
SERVICES = {
    "CONTROLLER_INIT": "SkyServe's controller begins",
    "REPLICA_INIT": "no copy is ready yet",
    "NO_REPLICA": "it has no copies: a request starts one",
    "NO_REPLICAS": "it has no copies: a request starts one",
}
FAILED_SERVICES = ("CONTROLLER_FAILED", "FAILED", "FAILED_CLEANUP")


@dataclass(slots=True)
class Service:
    """A service of SkyServe."""

    status: str
    endpoint: str = ""
    parts: list[Part] = field(default_factory=list)


def plain(text: str) -> str:
    """Return a text without colours."""
    return _COLOURS.sub("", text)


def json_in(text: str) -> Any:
    """Return the JSON that a text ends with; None: there is none."""
    text = plain(text)
    for found in re.finditer(r"^[\[{]", text, re.MULTILINE):
        try:
            return json.loads(text[found.start() :])
        except ValueError:
            continue
    return None


def records(found: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list."""
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def word(record: Mapping[str, Any], name: str) -> str:
    """Return a text of a record, on one line."""
    value = record.get(name)
    return " ".join(value.split())[:500] if isinstance(value, str) else ""


def _rows(text: str, first: str) -> list[dict[str, str]]:
    """Return the rows of the table whose head begins with a word, by its columns."""
    lines = plain(text).splitlines()
    at = next((number for number, line in enumerate(lines) if line.split()[:1] == [first]), None)
    if at is None:
        return []
    heads = [(found.start(), found[0]) for found in re.finditer(r"\S+", lines[at])]
    made = []
    for line in lines[at + 1 :]:
        if not line.strip():
            break
        # Columns are parted by two blanks and more; what a cell holds may be longer than its head.
        cells = re.split(r" {2,}", line.strip())
        made.append({name: cell for (_, name), cell in zip(heads, cells, strict=False)})
    return made


def service_in(text: str, name: str) -> Service | None:
    """Return what the tables tell of a service; None: there is no such one."""
    row = next((one for one in _rows(text, "NAME") if one.get("NAME") == name), None)
    if row is None:
        return None
    endpoint = row.get("ENDPOINT", "")
    made = Service(row.get("STATUS", ""), "" if endpoint == "-" else endpoint)
    for one in _rows(text, "SERVICE_NAME"):
        if one.get("SERVICE_NAME") != name:
            continue
        state, _, detail = one.get("STATUS", "").partition(" (")
        part = Part(f"replica {one.get('ID', '')}", one.get("INFRA", ""), state, detail.rstrip(")"))
        made.parts.append(part)
    return made


def address_in(text: str, port: int) -> tuple[str, int] | None:
    """Return host and port of an endpoint as SkyPilot prints it; None: it is none that can be led to.

    Args:
        port: Where it names none.
    """
    last = plain(text).strip().splitlines()[-1:] or [""]
    found = re.fullmatch(r"(?:http://)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?/?", last[0].strip())
    if found is None or not re.search(r"[.:]|localhost", found[1]):
        return None
    return found[1].strip("[]"), int(found[2] or port)
