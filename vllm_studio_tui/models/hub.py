"""What a model on the hub is, without its weights: its configuration and the heads of its files, by HTTP ranges.

A model of a hundred files costs some ten megabytes. What was found out is kept on the disk, by commit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.architecture import Architecture, CacheGroup, CacheKind, ModelFacts, Part, Weights
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.gguf import MAX_HEAD as GGUF_HEAD
from vllm_studio_tui.kit.gguf import Gguf, read_gguf
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.kit.safe_json import loads
from vllm_studio_tui.kit.safetensors import MAX_HEAD
from vllm_studio_tui.kit.tensors import BadFile, TooLarge
from vllm_studio_tui.models.facts import UnknownModel, facts_from_gguf, read_facts
from vllm_studio_tui.models.hub_client import HubAccess, HubClient, HubFile, HubRepo
from vllm_studio_tui.models.hub_errors import HubError
from vllm_studio_tui.models.pulling.choice import choose
from vllm_studio_tui.models.pulling.names import HubName, read_name

#: Bytes of the first read of a head: of most files that is all of it.
FIRST_READ, FIRST_GGUF = 100_000, 1 << 20
#: Bytes of a file of JSON that is read whole.
MOST_JSON = 8 << 20
#: Files of one model whose heads are read, and how many at once.
MOST_FILES, AT_ONCE = 300, 8
#: Seconds of patience with one answer, with all of them, and for which an answer is taken for true without asking.
PATIENCE, ALL, FRESH = 15.0, 60.0, 300.0
#: Models that are kept on the disk.
KEPT = 200
_ASKED: dict[str, tuple[float, ModelFacts]] = {}


def read_hub_facts(repo: str, revision: str | None = None, *, environ: Mapping[str, str]) -> ModelFacts:
    """Return what a model on the hub is. Blocking: a second where the hub is asked; what is kept comes at once.

    Args:
        repo: `OWNER/NAME`; of a GGUF repository also `OWNER/NAME:QUANTIZATION`.

    Raises:
        UsageError: It is no name.
        HubError: The hub does not give it, or cannot be reached and nothing is kept of it.
        UnknownModel: Its files say nothing of what it is.
    """
    name = read_name(repo)
    revision = revision or name.revision or "main"
    access = dataclasses.replace(HubAccess.of(environ), timeout=PATIENCE)
    key = hashlib.sha256("\0".join((access.endpoint, name.repo, name.part, revision, __version__)).encode()).hexdigest()
    asked = _ASKED.get(key)
    if asked is not None and time.monotonic() - asked[0] < FRESH:
        return asked[1]
    file = Places.of(environ).cache / "hub" / f"{key[:32]}.json"
    commit, known = _kept(file)
    try:
        with HubClient(access) as hub:
            found = hub.repository(name.repo, revision)
            if known is None or commit != found.commit:
                known = _read(hub, name, found)
                _keep(file, found.commit, known)
    except HubError as error:
        if known is None or not (error.passing or error.kind == "offline"):
            raise
    _ASKED[key] = (time.monotonic(), known)
    while len(_ASKED) > KEPT:
        _ASKED.pop(next(iter(_ASKED)))
    return known


def _read(hub: HubClient, name: HubName, found: HubRepo) -> ModelFacts:
    chosen = choose(found.files, part=name.part)
    deadline = time.monotonic() + ALL
    with _workroom() as folder:
        if chosen.first:
            weights = [one for one in chosen.files if one.name.endswith(".gguf") and "mmproj" not in one.name.lower()]
            facts = facts_from_gguf(_gguf_heads(hub, found, sorted(weights, key=_by_name), folder, deadline))
        else:
            _copy_heads(hub, found, chosen.files, folder, deadline)
            try:
                facts = read_facts(folder)
            except UnknownModel as error:
                raise UnknownModel(
                    f"nothing can be said of {name.repo}",
                    cause=error.cause.replace(f"{folder}/", "").replace(str(folder), "it"),
                    advice=f"It may be no model for text, or one in a form of its own: see {hub.page(name.repo)}.",
                ) from error
    about = dict(facts.about)
    if found.licence:
        about.setdefault("license", found.licence)
    return dataclasses.replace(facts, about=about)


@contextlib.contextmanager
def _workroom() -> Iterator[Path]:
    """Yield a folder for heads of files, and take it away."""
    try:
        with tempfile.TemporaryDirectory(prefix="vllm-studio-hub-") as folder:
            yield Path(folder)
    except OSError as error:
        raise StudioError(
            "the heads of the model's files cannot be put down",
            cause=f"{error.strerror or error}: {tempfile.gettempdir()}",
            advice="Free some space there, or name another place in TMPDIR.",
        ) from error


def _copy_heads(hub: HubClient, found: HubRepo, files: Iterable[HubFile], folder: Path, deadline: float) -> None:
    """Make the model's folder with files that have their head and their size, and nothing else: holes take no room."""
    flat = [one for one in files if "/" not in one.name]
    small = [
        one for one in flat if one.name.endswith(".json") and one.size <= MOST_JSON and "tokenizer" not in one.name
    ]
    heads = [one for one in flat if one.name.endswith(".safetensors")][:MOST_FILES]
    for one in flat:
        if one.name.endswith((".safetensors", ".bin", ".pt", ".pth")):
            with (folder / one.name).open("wb") as stream:
                stream.truncate(one.size)

    def copy(one: HubFile) -> None:
        if time.monotonic() > deadline:
            raise _too_slow(found.repo)
        if one in small:
            (folder / one.name).write_bytes(hub.read(found.repo, found.commit, one.name, 0, one.size or 1))
            return
        with (folder / one.name).open("r+b") as stream:
            stream.write(_head(hub, found, one))

    with ThreadPoolExecutor(AT_ONCE, "hub-heads") as pool:
        for done in [pool.submit(copy, one) for one in (*small, *heads)]:
            done.result()


def _head(hub: HubClient, found: HubRepo, file: HubFile) -> bytes:
    """Return the head of a safetensors file; of one that is too long to be read, nothing."""
    head = hub.read(found.repo, found.commit, file.name, 0, min(FIRST_READ, file.size or 1))
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or length > MAX_HEAD or 8 + length > file.size:
        return b""
    if 8 + length > len(head):
        head += hub.read(found.repo, found.commit, file.name, len(head), 8 + length - len(head))
    return head[: 8 + length]


def _gguf_heads(hub: HubClient, found: HubRepo, files: list[HubFile], folder: Path, deadline: float) -> list[Gguf]:
    headers = []
    for at, one in enumerate(files[:MOST_FILES]):
        copy = folder / f"{at}.gguf"
        have, step, start = 0, FIRST_GGUF, b""
        while True:
            if time.monotonic() > deadline:
                raise _too_slow(found.repo)
            piece = hub.read(found.repo, found.commit, one.name, have, min(step, one.size - have))
            with copy.open("ab") as stream:
                stream.write(piece)
            have += len(piece)
            start = start or piece[:4]
            try:
                headers.append(read_gguf(copy))
                break
            except (BadFile, TooLarge) as error:
                # Of a head that is cut off more is fetched, until it is whole or longer than any that is read.
                if have >= min(one.size, GGUF_HEAD) or not piece or start != b"GGUF":
                    raise UnknownModel(f"nothing can be said of {found.repo}", cause=f"{one.name} {error}") from error
            step = max(have, FIRST_GGUF)
        copy.unlink()
    if not headers or not headers[0].readable:
        raise UnknownModel(
            f"nothing can be said of {found.repo}", cause="Its GGUF version is not one that is read here."
        )
    return headers


def _by_name(file: HubFile) -> str:
    return file.name


def _too_slow(repo: str) -> HubError:
    return HubError(
        "timeout", f"the hub is too slow to tell what {repo} is", cause=f"It took more than {ALL:.0f} s.",
        advice="Try again later.", passing=True,
    )  # fmt: skip


# --- what is kept ----------------------------------------------------------------------------------------


def _keep(file: Path, commit: str, facts: ModelFacts) -> None:
    """Write it down; where nothing can be written, it is asked for again."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        data = json.dumps({"commit": commit, "facts": dataclasses.asdict(facts)}).encode()
        private_dir(file.parent)
        write_atomic(file, data)
        kept = sorted(file.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink()


def _kept(file: Path) -> tuple[str, ModelFacts | None]:
    try:
        with file.open("rb") as stream:
            document = loads(stream.read(4 << 20))
        facts = _facts(document["facts"])
        with contextlib.suppress(OSError):
            os.utime(file)
        return str(document["commit"]), facts
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "", None


def _facts(data: dict[str, Any]) -> ModelFacts:
    """Make the value again.

    Raises:
        ValueError, TypeError, KeyError: It was written by another version.
    """
    shape = dict(data["architecture"])
    shape["caches"] = tuple(CacheGroup(**{**one, "kind": CacheKind(one["kind"])}) for one in shape["caches"])
    shape["unknown"] = tuple(shape["unknown"])
    weights = tuple(Weights(**{**one, "part": Part(one["part"])}) for one in data["weights"])
    return ModelFacts(**{**data, "architecture": Architecture(**shape), "weights": weights})
