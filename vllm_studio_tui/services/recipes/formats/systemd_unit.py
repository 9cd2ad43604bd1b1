"""Read a unit of systemd whose service is an engine. Facts: systemd.service(5), systemd.exec(5), systemd.syntax(7)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vllm_studio_tui.domain.recipe import REFERENCE, FieldNote
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.command import ID_MARK, from_words
from vllm_studio_tui.services.recipes.formats.format import Found, Source, Unreadable
from vllm_studio_tui.services.recipes.formats.shell_text import LITERAL, home_filled

#: How `render systemd-unit` names what a file of secrets holds.
SECRET_MARK = "# Secret: "  # noqa: S105 - what stands before a name
_MAX = 256 * 1024
_BUSINESS = "it is for systemd; the studio's keeper runs the engine"
_NAMED = {
    "User": "the studio starts engines as you", "Group": "the studio starts engines as you",
    "EnvironmentFile": "it is not read: put its variables into env_vars",
    "ExecStartPre": "a launch runs nothing before the engine", "ExecStartPost": "a launch runs nothing after the start",
    "ExecStop": "the studio stops the engine itself", "ExecStopPost": "the studio runs nothing after the end",
    "ExecReload": "the studio reloads no engine", "StandardOutput": "the studio keeps the log",
    "StandardError": "the studio keeps the log",
}  # fmt: skip
_POLICIES = {"always": "always", "on-failure": "on-failure", "on-abnormal": "on-failure", "on-abort": "on-failure",
             "on-watchdog": "on-failure", "on-success": "always"}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "s": " ", "\\": "\\", '"': '"', "'": "'", "r": "\r"}


class SystemdUnit:
    """A `.service` file."""

    name = "systemd-unit"
    title = "a unit of systemd"

    def read(self, source: Source) -> list[Found] | None:
        text = (source.text or "")[:_MAX].replace("\0", "")
        if not re.search(r"^\[Service\]\s*$", text, re.MULTILINE) or "ExecStart" not in text:
            return None
        found = _read(text)
        if found is None:
            raise Unreadable(
                f"{source.name} starts no engine that is known",
                cause="ExecStart of its [Service] is another program.",
                advice="Make a recipe with backend custom and that command.",
            )
        return [found]


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the section, the name and the value of each setting."""
    section = ""
    whole = ""
    for raw in text.splitlines():
        line = raw.strip()
        if whole and line.startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            whole += f"{line[:-1]} "
            continue
        line, whole = f"{whole}{line}".strip(), ""
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        name, equals, value = line.partition("=")
        if equals:
            yield section, name.strip(), value.strip()


def _read(text: str) -> Found | None:
    env: dict[str, str] = {}
    notes: list[FieldNote] = []
    starts: list[str] = []
    more: dict[str, object] = {}
    restart: dict[str, object] = {}
    for line in text.splitlines():
        name, _, secret = line.removeprefix(SECRET_MARK).partition(" ")
        if line.startswith(SECRET_MARK) and REFERENCE.fullmatch(secret):
            env[name] = secret  # of a unit that was made here
    for section, name, value in _lines(text):
        if section == "Unit" and name == "Description":
            more["description"] = value[:500].replace("%%", "%")
        if section != "Service":
            continue
        if name == "ExecStart":
            starts = [*starts, value] if value else []
        elif name == "Environment":
            for word in _words(value, dollars=False):
                key, equals, one = word.partition("=")
                if equals:
                    env[key] = one.replace("$", LITERAL)
        elif name == "WorkingDirectory":
            more["cwd"] = home_filled(value.lstrip("-").replace("%h", "~"))
        elif name == "Restart" and value in _POLICIES:
            restart["policy"] = _POLICIES[value]
        elif name == "RestartSec" and re.fullmatch(r"\d{1,4}(?:\.\d{1,3})?s?", value):
            restart["delay"] = float(value.rstrip("s"))
        elif name in _NAMED:
            notes.append(FieldNote(name, "dropped", f"{value[:80]}: {_NAMED[name]}"))
        elif value and len(notes) < 200:
            notes.append(FieldNote(name[:60], "dropped", _BUSINESS))
    if restart.get("policy"):
        more["restart"] = restart
    for start in starts:
        bare = start.lstrip("-@:+!|")
        words = _words(bare, dollars=":" not in start[: len(start) - len(bare)])
        if "@" in start[: len(start) - len(bare)]:
            del words[1:2]
        made = from_words([_filled(one, env) for one in words], env, notes)
        if made is not None:
            given = next((one[len(ID_MARK) :].strip() for one in text.splitlines() if one.startswith(ID_MARK)), "")
            if given and slug(given) == given:
                more |= {"id": given, "name": given}
            if more.get("description") in (given, None):
                more.pop("description", None)
            return Found({**more, **made.data} | {k: v for k, v in more.items() if k in ("id", "name")}, made.notes)
    return None


def _filled(word: str, env: dict[str, str]) -> str:
    """Put the unit's own variables into a word, as systemd does."""
    return re.sub(
        r"\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)$",
        lambda found: env.get(found[1] or found[2], found[0])[:4096],
        word,
    )[:65536]


def _words(text: str, *, dollars: bool) -> list[str]:
    """Return the words of a setting. `%h` is the home, `%%` and `$$` are one; other specifiers stay as they are."""
    words: list[str] = []
    word: list[str] | None = None
    mark = ""
    at = 0
    while at < len(text):
        letter, following = text[at], text[at + 1 : at + 2]
        at += 1
        if mark and letter == mark:
            mark = ""
        elif not mark and letter in "'\"" and word is None:
            mark, word = letter, []
        elif letter == "\\" and following in _ESCAPES and following:
            word = [*(word or [])] if word is None else word
            word.append(_ESCAPES[following])
            at += 1
        elif not mark and letter in " \t":
            if word is not None:
                words.append("".join(word))
            word = None
        elif letter == "%" and following in ("%", "h"):
            word = [] if word is None else word
            word.append("%" if following == "%" else home_filled("~/").rstrip("/"))
            at += 1
        elif dollars and letter == "$" and following == "$":
            word = [] if word is None else word
            word.append(LITERAL)
            at += 1
        else:
            word = [] if word is None else word
            word.append(letter)
    if word is not None:
        words.append("".join(word))
    return words
