""" "What do you want to run?" as rows: what is found here, starters, engines of others, and other ways to begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_words import backend_word

if TYPE_CHECKING:
    from vllm_studio_tui.domain.creation import Glance, StarterModel
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.runs.foreign import Foreign
    from vllm_studio_tui.services.recipes.starting import EngineHere, Typed
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Rows of a group at small sizes, while nothing is typed.
SHORT = 3
FOUND, STARTERS, RUNNING, BRING, LOOKING, TYPED = (
    "FOUND HERE", "STARTERS", "ALREADY RUNNING", "OR BRING IT WITH YOU", "ONLY LOOKING", "AS TYPED",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Here:
    """What is on this machine. What is None was not looked at yet.

    Attributes:
        room: Bytes free where models are downloaded to.
        token: Whether the hub's token is set.
        gpus: GPUs and the bytes of memory that are free on them.
        demo: Bytes of the demo's model, and whether it is here already.
        glances: How models would run here, by their paths; one that is not in it was not worked out yet.
    """

    engines: Sequence[EngineHere] | None = None
    models: Sequence[Model] | None = None
    starters: Sequence[StarterModel] | None = None
    foreign: Sequence[Foreign] = ()
    room: int | None = None
    token: bool = False
    gpus: tuple[int, int] = (0, 0)
    demo: tuple[int, bool] = (0, False)
    glances: Mapping[str, Glance] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that can be taken.

    Attributes:
        key: What taking it does, see `flows.starting.take`.
        detail: Where it is, or what it is good for.
        gpus: How many it takes, in words.
        note: Its style and words at the end of the row.
        last: What stands at the right edge, such as what has to be downloaded.
    """

    key: str
    group: str
    name: str
    detail: str = ""
    size: int | None = None
    engine: str = ""
    note: tuple[str, str] = ("dim", "")
    gpus: str = ""
    last: str = ""

    @property
    def words(self) -> str:
        """The text that a search looks through, in lower case."""
        return f"{self.name} {self.detail} {self.engine} {self.group}".lower()


def entries_of(
    here: Here, typed: Sequence[Typed], inside: Sequence[Model], text: str, *, new: bool, small: bool = False
) -> list[Entry]:
    """Return what can be taken, in the order of the screen.

    Args:
        typed: What the typed text may mean, and `inside` the models of a typed folder.
        new: An empty recipe comes first.
        small: What can be done comes before what may not run here.
    """
    empty = Entry("do:empty", BRING, "an empty recipe", "every field of the form, nothing filled in")
    bring = [
        Entry("do:paste", BRING, "paste a command", "vllm serve, llama-server, sglang, or recipes as YAML or JSON"),
        Entry(
            "do:file",
            BRING,
            "import a file",
            "recipes, llama-swap, compose, a database export; shown before it is taken",
        ),
        Entry("do:attach", BRING, "attach an engine", "the URL of a server that runs already: chat, monitor, usage"),
    ]
    demo = Entry("do:demo", LOOKING, "try the demo", _demo(*here.demo))
    found = [_found(model, here) for model in here.models or ()]
    starters = [_starter(one, here) for one in here.starters or ()]
    running = [
        Entry(f"foreign:{one.pid}", RUNNING, one.model or backend_word(one.backend), f"{one.user}, pid {one.pid}", None,
              backend_word(one.backend), ("dim", f"attach it: {one.base_url}"))
        for one in here.foreign if one.base_url is not None
    ]  # fmt: skip
    groups = [found, starters, running, bring if new else [*bring, empty], [demo]]
    if not found and not any(one.glance.fits and not one.glance.words for one in here.starters or ()):
        # Nothing on this machine can run as it is: what works comes first.
        groups = [[demo], running, bring if new else [*bring, empty], starters]
    elif small:
        groups = [found, starters[:SHORT], [demo], running, bring if new else [*bring, empty]]
    rows = [entry for group in groups for entry in group]
    if new:
        rows.insert(0, empty)
    words = text.lower().split()
    meant = _typed(typed, inside, here)
    if not words:
        return rows
    matching = [entry for entry in rows if all(word in entry.words for word in words)]
    if not meant and " " not in text.strip():
        name = text.strip()
        meant = [Entry(f"recipe:{name}", TYPED, name, "a new recipe with this as its model")]
        return [*matching, *meant]  # what is called so comes before what could be
    return [*meant, *matching]


def _demo(size: int, there: bool) -> str:
    """Return what the demo is, what it costs first: there may be room for no more."""
    if there:
        return "nothing to fetch: a chat with a small real model on the CPU"
    cost = f"{numbers.size(size)} to fetch, then " if size else ""
    return f"{cost}a chat with a small real model on the CPU"


def _typed(typed: Sequence[Typed], inside: Sequence[Model], here: Here) -> list[Entry]:
    from vllm_studio_tui.services.recipes.starting import engine_for

    rows = []
    for one in typed:
        if one.kind == "command":
            rows.append(Entry(f"command:{one.value}", TYPED, "this command", "shown as a recipe first"))
        elif one.kind == "file":
            rows.append(Entry(f"file:{one.value}", TYPED, "import this file", one.value))
        elif one.kind == "server":
            rows.append(Entry(f"server:{one.value}", TYPED, "attach this server", one.value))
        elif one.kind == "model":
            engine = engine_for("safetensors", here.engines or (), on_hub=True)
            note = _engine_note(engine) if engine is not None else ("dim", "")
            title = engine.title if engine is not None else ""
            rows.append(Entry(f"model:{one.value}", TYPED, one.value, "from the hub, by name", None, title, note))
    return rows + [_found(model, here, TYPED) for model in inside]


def _engine_note(engine: EngineHere) -> tuple[str, str]:
    return ("ok", "installed") if engine.usable else ("warn", "not installed here")


def _found(model: Model, here: Here, group: str = FOUND) -> Entry:
    from vllm_studio_tui.services.recipes.starting import engine_for

    where = "the hub's cache" if model.source == "hub" else _short(str(Path(model.path).parent))
    key = f"model:{model.path}"
    glance = here.glances.get(model.path)
    if glance is None:
        engine = engine_for(model.weights, here.engines or ())
        title, note = (engine.title, _engine_note(engine)) if engine is not None else ("", ("dim", ""))
        return Entry(key, group, model.name, where, model.bytes, title, note)
    note = glance_note(glance) if model.complete is not False else ("warn", f"not whole: {model.missing}")
    return Entry(key, group, model.name, where, model.bytes, glance.engine_title, note, _gpu_words(glance, here))


def glance_note(glance: Glance) -> tuple[str, str]:
    """Return how a model would run here, in a few words, with their style."""
    if glance.words:
        return "err" if glance.fits is False else "warn", glance.words
    if glance.fits:
        return "ok", f"{context_words(glance.context)} context for {glance.users}"
    return "dim", ""


def context_words(count: int) -> str:
    """Return a length of text as lists name it: `32k`."""
    return f"{count // 1024}k" if count >= 1024 else str(count)


def _gpu_words(glance: Glance, here: Here) -> str:
    if not glance.engine_title:
        return ""
    return f"{glance.gpus} of {here.gpus[0]}" if glance.gpus and here.gpus[0] else "CPU" if glance.context else ""


def _short(path: str) -> str:
    home = str(Path("~").expanduser())
    return f"~{path[len(home) :]}" if path == home or path.startswith(f"{home}/") else path


def _starter(one: StarterModel, here: Here) -> Entry:
    glance = one.glance
    note = ("warn", f"{glance.engine_title} is {glance.words}") if glance.words else ("fg", one.why)
    last = numbers.size(one.download) if one.download else "is here"
    gpus = _gpu_words(glance, here)
    return Entry(f"starter:{one.model}", STARTERS, one.name, one.about, None, glance.engine_title, note, gpus, last)


def title_rows(here: Here, size: Size, width: int, height: int) -> list[Row]:
    """Draw the question, and what this machine has."""
    row = Row()
    x = row.put(margin(size), "What do you want to run?", "fg bold") + 3
    row.put(x, _machine(here), "dim", max(0, width - x - 2))
    return [row] if height < 3 else [Row(), row, Row()]


def _machine(here: Here) -> str:
    parts = []
    count, free = here.gpus
    if count:
        parts.append(f"{count} {'GPU' if count == 1 else 'GPUs'}, {numbers.size(free)} free.")
    elif here.engines is not None:
        parts.append("No GPU here.")
    usable = [one.words for one in here.engines or () if one.usable]
    if usable:
        parts.append(f"{_and(usable)} {'is' if len(usable) == 1 else 'are'} installed.")
    elif here.engines is not None:
        parts.append("No engine is installed.")
    return " ".join(parts)


def _machine_words(here: Here) -> str:
    count, free = here.gpus
    if not count:
        return "which has no GPU"
    return f"{count} {'GPU' if count == 1 else 'GPUs'}, {numbers.size(free)} free"


def _and(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def list_rows(
    entries: Sequence[Entry],
    here: Here,
    glyphs: Glyphs,
    size: Size,
    width: int,
    *,
    text: str = "",
    find: str = "/",
) -> list[Row]:
    """Draw the entries under the heads of their groups, then what was checked.

    Args:
        find: What finds the entries for which there is no room.
    """
    rows: list[Row] = []
    x = margin(size)
    short = size <= Size.BASE and not text
    for group in dict.fromkeys(entry.group for entry in entries):
        inside = [entry for entry in entries if entry.group == group]
        if rows:
            rows += [Row()] * (2 if size == Size.FULL else 1 if size >= Size.BASE else 0)
        shown = inside[:SHORT] if short and group in (FOUND, STARTERS) else inside
        if not (len(inside) == 1 and inside[0].key == "do:empty"):
            rows.append(_head(group, inside, here, x, size, width))
        rows += [_entry(entry, glyphs, x, size, width) for entry in shown]
        if len(shown) < len(inside):
            more = Row()
            more.run(x, [(f"{glyphs.ellipsis} {len(inside) - len(shown)} more: ", "faint"), (find, "fg bold"),
                         (" finds them", "faint")])  # fmt: skip
            rows.append(more)
    if not text:
        if here.models is not None and not here.models:
            none = Row()
            end = none.run(x, [(FOUND, "dim bold"), ("  no model in the hub's cache", "faint")])
            none.put(end, ", in ~/models or in models_dirs of the settings", "faint", max(0, width - end - 2))
            rows += [Row(), none]
        elif here.models is None:
            looking = Row()
            looking.run(x, [(FOUND, "dim bold"), ("  looking", "faint")])
            rows += [Row(), looking]
    elif not entries:
        none = Row()
        none.put(x, f'Nothing here is called "{text}".', "dim", width - x - 2)
        rows.append(none)
    if here.engines is not None and size >= Size.BASE and not text:
        rows += [Row()] * (2 if size == Size.FULL else 1)
        rows.append(checked_row(here, glyphs, x, width))
    return rows


def _head(group: str, inside: Sequence[Entry], here: Here, x: int, size: Size, width: int) -> Row:
    row = Row()
    end = row.put(x, group, "dim bold") + 2
    words = ""
    if group == FOUND:
        total = sum(model.bytes for model in here.models or ())
        count = "1 model" if len(inside) == 1 else f"{len(inside)} models"
        words = f"{count}, {numbers.size(total)}, nothing to download"
    elif group == STARTERS:
        words = f"for this machine, {_machine_words(here)}"
    elif group == RUNNING:
        words = "engines that the studio did not start"
    row.put(end, words, "faint", max(0, width - end - 2))
    return row


def _entry(entry: Entry, glyphs: Glyphs, x: int, size: Size, width: int) -> Row:
    row = Row(key=entry.key)
    style, note = entry.note
    mark = {"ok": glyphs.passed, "warn": glyphs.pending, "err": glyphs.failed}.get(style, "")
    if size >= Size.WIDE:
        engine = max(72, width - 72)
        name, detail, end, last = 30, x + 31, engine - 3, engine + 21
        if not (entry.engine or entry.size or note):
            end = width
    else:
        name = 28 if size >= Size.COMPACT else 18
        detail = engine = x + name + 2
        end, last = 0, detail + 16
    edge = width - 1
    if entry.last and size >= Size.BASE:
        edge = row.put_right(width - 2, entry.last, "dim") - 2
    row.put(x, entry.name, "fg", name)
    if size >= Size.WIDE:
        room = end - detail - (11 if entry.size is not None else 0 if end < width else 2)
        row.put(detail, entry.detail, "dim", max(0, room))
        if entry.size is not None:
            row.put_right(end, numbers.size(entry.size), "dim")
        row.put(engine, entry.engine, "fg", 12) if entry.engine else None
        row.put(engine + 12, entry.gpus, "fg", 8)
    elif not entry.engine:
        row.put(detail, entry.detail, "dim", max(0, width - detail - 1))
    elif size >= Size.COMPACT:
        short = entry.gpus.partition(" ")[0]
        words = f"{entry.engine}, {short} GPU" if short.isdigit() else entry.engine
        row.put(engine, words, "fg", 15)
    else:
        last = engine
    if note:
        at = row.put(last, f"{mark} " if mark else "", style)
        row.put(at, note, "dim" if mark else style, max(0, edge - at))
    return row


def checked_row(here: Here, glyphs: Glyphs, x: int, width: int) -> Row:
    """Draw what was looked at: GPUs, engines, room on the disk, the hub's token; and the key of the whole look."""
    row = Row()
    end = row.put(x, "CHECKED", "dim bold") + 3
    usable = [one for one in here.engines or () if one.usable]
    count = here.gpus[0]
    checks = [
        (bool(count), f"{count} {'GPU' if count == 1 else 'GPUs'}" if count else "no GPU"),
        (bool(usable), f"{len(usable)} {'engine' if len(usable) == 1 else 'engines'}" if usable else "no engine"),
    ]
    if here.room is not None:
        checks.append((here.room > 20 << 30, f"{numbers.size(here.room)} free"))
    checks.append((here.token, "HF token" if here.token else "no HF token: gated models refuse"))
    stop = width - 12
    for good, words in checks:
        if end + len(words) + 2 > stop:
            break
        end = (
            row.run(end, [(f"{glyphs.passed if good else glyphs.warning} ", "ok" if good else "warn"), (words, "dim")])
            + 3
        )
    start = width - 11
    row.run(start, [("f7", "fg bold"), (" doctor", "dim")])
    row.link(start, width - 1, "app.doctor")
    return row
