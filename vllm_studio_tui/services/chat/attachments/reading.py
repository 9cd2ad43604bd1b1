"""Read files for a question: text and code as they are, PDF as its text, pictures as data URLs. Blocking."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.domain.chat import Attached, Attachment
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat.attachments import pdf, pictures

#: Bytes that are read of a file, letters that are sent of one and of all.
MOST_BYTES, MOST_TEXT, MOST_ALL = 64 * 1024 * 1024, 400_000, 1_600_000
#: Files and pictures of one question.
MOST_FILES, MOST_PICTURES = 50, 16

#: `@path`, or `@"path with blanks"`, where a word begins.
_MENTION = re.compile(r'(?:(?<=\s)|(?<=[(\[{])|^)@(?:"([^"\n]{1,4096})"|([^\s"]{1,4096}))')
#: What may stand behind a path without being of it.
_STOPS = ".,;:!?)]}'"
_FENCED = re.compile(r"^(`{3,}).*?^\1`*[ \t]*$", re.MULTILINE | re.DOTALL)
#: By its ending, where the file is text: what kind of text it is told to be.
_KINDS = {
    "py": "text/x-python", "md": "text/markdown", "json": "application/json", "csv": "text/csv", "html": "text/html",
    "xml": "text/xml", "yaml": "application/yaml", "yml": "application/yaml", "toml": "application/toml",
    "js": "text/javascript", "ts": "text/x-typescript", "c": "text/x-c", "rs": "text/x-rust", "go": "text/x-go",
    "sh": "text/x-shellscript", "sql": "text/x-sql", "log": "text/x-log",
}  # fmt: skip
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the `@path` words of a text name.

    Attributes:
        attached: The files, each once, in order; those that go with it anyway are first.
        notes: What a person is told: words that look like a file and are none.
    """

    attached: tuple[Attached, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(text: str, folder: str | Path | None = None, *, already: Iterable[Attached] = ()) -> Resolved:
    """Read the files that a text names as `@path`; a word that names none is left as text.

    Args:
        folder: Where relative paths begin; None: the working directory.
        already: Files that go with it anyway: they are not read again.

    Raises:
        UsageError: A file is there and cannot be sent.
    """
    found: dict[str, None] = {}
    notes = []
    for word, names in named(text, folder):
        found.update(dict.fromkeys(names))
        if not names and (note := _note(word.removeprefix("@").strip('"'), folder)):
            notes.append(note)
    before = list(already)
    there = {one.file.path for one in before}
    attached = [read(path) for path in _few(found) if path not in there]
    return Resolved(tuple(checked([*before, *attached])), tuple(notes))


def named(text: str, folder: str | Path | None = None) -> list[tuple[str, list[str]]]:
    """Return the `@path` words of a text, each with the files that it names. Blocking.

    A word is as it stands in the text, without the stop behind it; code in a fence names nobody.
    """
    found = []
    for match in _MENTION.finditer(_FENCED.sub("", text)):
        names = _named(match[1] or match[2], folder, trim=match[1] is None)
        trimmed = names and match[1] is None and not _named(match[2], folder)
        found.append((match[0].rstrip(_STOPS) if trimmed else match[0], names))
    return found


def names_files(text: str) -> bool:
    """Return whether a text has a word that may name a file."""
    return "@" in text and _MENTION.search(text) is not None


def expand(pattern: str, folder: str | Path | None = None) -> list[str]:
    """Return the paths of the files that a path or a pattern such as `src/*.py` names.

    Raises:
        UsageError: It names none.
    """
    names = _named(pattern, folder)
    if not names:
        shown = clean_line(pattern, limit=200)
        if _is_folder(_placed(pattern, folder)):
            advice = f"Name files in it, such as {shown.rstrip('/')}/*.md."
            raise UsageError(f"{shown} is a folder", advice=advice)
        raise UsageError(f"{shown} names no file", advice="Look at the path; a pattern such as src/*.py is fine too.")
    return _few(names)


def attach(patterns: Sequence[str], folder: str | Path | None = None) -> list[Attached]:
    """Return the files that paths and patterns name, each once.

    Raises:
        UsageError: One names no file, or a file cannot be sent.
    """
    paths = dict.fromkeys(path for pattern in patterns for path in expand(pattern, folder))
    return checked([read(path) for path in _few(paths)])


def read(path: str) -> Attached:
    """Return a file as it is sent.

    Raises:
        UsageError: It cannot be read, is too large, or is neither text, PDF nor a picture.
    """
    shown = clean_line(path, limit=200)
    raw, size = _bytes_of(path, shown)
    name = Path(path).name
    if pictures.is_picture(raw):
        return pictures.made(raw, name, path)
    if raw[:1024].lstrip().startswith(b"%PDF-"):
        found = pdf.text_of(path, shown)
        note = f"{found.pages} pages" if found.pages != 1 else "1 page"
        if found.read < found.pages:
            note = f"{found.read} of {note}"
        return Attached(_text_file(name, "application/pdf", size, found.text, path, note, cut=found.cut))
    text = _decoded(raw)
    if text is None:
        if kind := pictures.other_kind(raw):
            cause = f"It is of the kind {kind}, which models do not take."
            raise UsageError(f"{shown} is no picture that can be sent", cause=cause, advice="Save it as PNG or JPEG.")
        raise UsageError(
            f"{shown} is neither text, PDF nor a picture",
            cause="It holds bytes that are no text.",
            advice="Convert it first; pictures may be PNG, JPEG, GIF, WebP or BMP.",
        )
    kind = _KINDS.get(Path(path).suffix.lower().lstrip("."), "text/plain")
    return Attached(_text_file(name, kind, size, text, path, "", cut=False))


def pasted(text: str, name: str = "pasted") -> Attached:
    """Return a text that is in no file as an attachment."""
    return Attached(_text_file(name, "text/plain", len(text.encode(errors="replace")), text, None, "", cut=False))


def checked(all_of_it: Sequence[Attached]) -> list[Attached]:
    """Return attachments that may go with one question.

    Raises:
        UsageError: They are too many, or too large together.
    """
    if sum(one.image is not None for one in all_of_it) > MOST_PICTURES:
        raise UsageError(f"these are more than {MOST_PICTURES} pictures", advice="Send them in several questions.")
    if len(all_of_it) > MOST_FILES:
        raise UsageError(f"these are more than {MOST_FILES} files", advice="Name fewer of them.")
    letters = sum(len(one.file.text or "") for one in all_of_it)
    if letters > MOST_ALL:
        raise UsageError(
            f"these files have {letters:,} letters together",
            cause=f"At most {MOST_ALL:,} go with a question.",
            advice="Name fewer of them, or parts.",
        )
    return list(all_of_it)


def about_tokens(text: str) -> int:
    """Return roughly how many tokens a text has: one for four letters of ASCII, or for three bytes of others."""
    if not text:
        return 0
    plain = len(text) if text.isascii() else sum(letter.isascii() for letter in text)
    others = 0 if plain == len(text) else len(text.encode(errors="replace")) - plain
    return max(1, round(plain / 4 + others / 3))


# --- paths ----------------------------------------------------------------------------------------------


def _named(word: str, folder: str | Path | None, *, trim: bool = False) -> list[str]:
    """Return the files that a word names: itself, or by its pattern, or without the stop behind it."""
    path = _placed(word, folder)
    if _is_file(path):
        return [path]
    if any(letter in word for letter in "*?["):
        found = [one for one in _matches(path) if _is_file(one)]
        if found:
            return found
    shorter = word.rstrip(_STOPS)
    return _named(shorter, folder) if trim and shorter and shorter != word else []


def _matches(pattern: str) -> list[str]:
    found: list[str] = []
    # `**` could walk a whole disk: what is read of it is bounded.
    for at, one in enumerate(glob.iglob(pattern, recursive=True)):  # noqa: PTH207, RUF100
        if at >= 20_000 or len(found) > MOST_FILES:
            break
        if _is_file(one):
            found.append(one)
    return sorted(found)


def _placed(word: str, folder: str | Path | None) -> str:
    try:
        path = Path(word).expanduser()
    except RuntimeError:
        path = Path(word)
    return os.path.normpath(Path(folder or Path.cwd()) / path)


def _is_file(path: str) -> bool:
    try:
        return not _is_folder(path) and Path(path).exists()
    except (OSError, ValueError):
        return False


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _note(word: str, folder: str | Path | None) -> str:
    """Return what is said of a word that names no file; empty where it does not look like one."""
    shown = clean_line(word, limit=120)
    if _is_folder(_placed(word, folder)):
        return f"@{shown} is a folder: name files in it, such as {shown.rstrip('/')}/*.md. It is sent as text."
    looks = "/" in word or re.search(r"\.\w{1,5}$", word) is not None
    return f"@{shown} names no file: it is sent as text." if looks else ""


def _few(paths: Iterable[str]) -> list[str]:
    found = list(paths)
    if len(found) > MOST_FILES:
        raise UsageError(f"these are more than {MOST_FILES} files", advice="Name fewer of them.")
    return found


# --- what is in them ------------------------------------------------------------------------------------


def _bytes_of(path: str, shown: str) -> tuple[bytes, int]:
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{shown} is no plain file", advice="Name a file of text, a PDF or a picture.")
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{shown} cannot be read", cause=cause, advice="Look at its path and its rights.") from None
    if len(raw) > MOST_BYTES:
        raise UsageError(
            f"{shown} is too large",
            cause=f"It has {numbers.size(found.st_size)}; {numbers.size(MOST_BYTES)} are read at most.",
            advice="Send a part of it.",
        )
    return raw, len(raw)


def _decoded(raw: bytes) -> str | None:
    """Return the text of bytes; None where they are none."""
    for mark, name in _BOMS:
        if raw.startswith(mark):
            return raw.decode(name, "replace")
    if b"\0" in raw:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        text = raw.decode(errors="replace")
        return text if text.count("\ufffd") * 20 <= len(text) else None


def _text_file(name: str, kind: str, size: int, text: str, path: str | None, note: str, *, cut: bool) -> Attachment:
    kept = text if len(text) <= MOST_TEXT else text[:MOST_TEXT]
    return Attachment(name, kind, size, kept, about_tokens(kept), path, cut or len(kept) < len(text), note)
