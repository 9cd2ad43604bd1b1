"""Read a shell's text into commands, without running any of it. What only a shell could do is named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

#: Letters of a script that are read, and of a variable once its own variables are put in.
MAX_TEXT = 256 * 1024
MAX_VALUE = 16 * 1024
MAX_COMMANDS = 1000
#: A dollar that begins no variable. A text has no such letter once it is read (`without_nul`).
LITERAL = "\0"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_DEFAULTED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?[-=?+])?(.*)", re.DOTALL)
#: A prompt before a command: `$ `, `user@host:~$ `, `(venv) $ `, `PS C:\\> `, `>>> ` is Python's and none.
_PROMPT = re.compile(
    r"^[ \t]{0,40}(?:\([\w.-]{1,40}\)[ \t]{0,4})?"
    r"(?:(?:[\w.-]{1,40}@[^\s$#]{1,100})?[ \t]{0,4}[$\u276f\u279c][ \t]+|PS [^>\n]{0,80}>[ \t]*)"
)
_ROOT_PROMPT = re.compile(r"^[ \t]{0,40}(?:[\w.-]{1,40}@[^\s#]{1,100})?#[ \t]+")
_FENCE = re.compile(r"^[ \t]{0,8}(`{3,}|~{3,})[ \t]*([\w+.-]*)[^\n`]*$")
_SHELLS = frozenset({"", "sh",
                     "bash", "shell", "console", "zsh", "terminal", "shell-session", "sh-session", "powershell",
                     "ps1", "cmd", "bat", "text", "txt", "plaintext", "fish", "command", "commandline"})  # fmt: skip
_OPENERS = frozenset({"then", "do", "else", "{", "(", "!", "if", "while", "until", "elif", "time"})
_REDIRECTED = re.compile(r"(?:\d*|&)(?:>>|>\||>&|>|<<<|<<-|<<|<&|<)")


@dataclass(slots=True)
class Command:
    """A command of a script.

    Attributes:
        words: Its words, assignments before them included.
        quoted: For each word, whether a part of it was quoted.
        left: What a shell would do beside it, that is only named: `(what, why)`.
        ends: What ends it: `&&`, `||`, `|`, `;`, `&`, or a line break.
    """

    words: list[str] = field(default_factory=list)
    quoted: list[bool] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    ends: str = "\n"


def read_commands(text: str, variables: Mapping[str, str] | None = None) -> list[Command]:
    """Return the commands of a script, a page of Markdown or a line with its prompt.

    A dollar that stands for itself, as in quotes, is `LITERAL` in the words.

    Args:
        variables: What variables hold; those that the text sets are added while it is read.
    """
    text = text[:MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n")
    return _Reader(_without_prompts(_of_markdown(text)), dict(variables or {})).commands()


def of_root(text: str) -> str | None:
    """Return a text without its prompts of root, `# `; None where no line begins with one."""
    lines = text[:MAX_TEXT].splitlines()
    if not any(_ROOT_PROMPT.match(one) for one in lines):
        return None
    return "\n".join(_ROOT_PROMPT.sub("", one) for one in lines)


def reference(value: str) -> str:
    """Return a reference to the variable where the value is one that a shell would fill in."""
    found = _REFERENCE.fullmatch(value)
    return f"env:{found[1] or found[2]}" if found else value


def without_nul(text: str) -> str:
    """Return a text without the letter that means a dollar here."""
    return text.replace("\0", "")


def dollars(text: str) -> str:
    """Return a word with its dollars as they were."""
    return text.replace(LITERAL, "$")


def is_assignment(word: str) -> bool:
    """Return whether a word is `NAME=value`."""
    name, equals, _ = word.partition("=")
    return bool(equals) and _NAME.fullmatch(name) is not None


def home_filled(text: str) -> str:
    """Return a path with this user's home for `~`, `$HOME` and `${HOME}` at its beginning."""
    for start in ("~/", "$HOME/", "${HOME}/"):
        if text.startswith(start):
            return f"{os.path.expanduser('~')}/{text[len(start) :]}"  # noqa: PTH111
    return text


def _of_markdown(text: str) -> str:
    """Return the fenced blocks of shells of a page; a text without fences as it is."""
    inside: list[str] = []
    mark, shell, fences = "", False, 0
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if not mark and found:
            mark, shell, fences = found[1], found[2].lower() in _SHELLS, fences + 1
        elif mark and found and found[1].startswith(mark[:3]) and not found[2]:
            mark = ""
            inside.append("")
        elif mark and shell:
            inside.append(line)
    return "\n".join(inside) if fences else text


def _without_prompts(text: str) -> str:
    """Return a text without prompts, and with other shells' continued lines as a POSIX shell has them."""
    lines: list[str] = []
    continued = False
    for line in text.split("\n"):
        bare = re.sub(r"^[ \t]*>[ \t]", "", line) if continued else _PROMPT.sub("", line, count=1)
        end = bare.rstrip(" \t")
        # Of a POSIX shell, of cmd.exe, of PowerShell; blanks after it are a slip of copying.
        continued = end.endswith(("\\", " ^", " `", "\t^", "\t`"))
        lines.append(f"{end[:-1]}\\" if continued else bare)
    return "\n".join(lines)


class _Reader:
    """Reads a script letter by letter, each once."""

    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._now = Command()
        self._word: list[str] | None = None
        self._quoted = False
        self._made: list[Command] = []
        self._endings: list[str] = []

    def commands(self) -> list[Command]:
        while self._at < len(self._text) and len(self._made) < MAX_COMMANDS:
            self._step()
        self._end("\n")
        return self._made

    def _step(self) -> None:
        letter = self._text[self._at]
        if letter == "\\":
            self._escape()
        elif letter in "'\"":
            self._quote(letter)
        elif letter == "$" or letter == "`":
            self._put(self._expansion())
        elif letter in " \t":
            self._finish()
            self._at += 1
        elif letter == "\n":
            self._end("\n")
            self._at += 1
            self._skip_documents()
        elif letter == "#" and self._word is None:
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        elif letter in ";|&()" or self._redirection() is not None:
            self._operator(letter)
        else:
            if letter in "*?" and self._word is not None and "glob" not in dict(self._now.left):
                self._now.left.append(("glob", "a shell would put file names in for it; it stands as it was written"))
            self._put(letter)
            self._at += 1

    def _escape(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if following == "\n":
            return
        self._put(LITERAL if following == "$" else following or "\\")
        self._quoted = True

    def _quote(self, mark: str) -> None:
        self._at += 1
        self._quoted = True
        parts: list[str] = []
        while self._at < len(self._text) and self._text[self._at] != mark:
            letter = self._text[self._at]
            if (
                mark == '"'
                and letter == "\\"
                and self._text[self._at + 1 : self._at + 2] in ("\\", '"', "$", "`", "\n")
            ):
                parts.append(self._text[self._at + 1].replace("\n", "").replace("$", LITERAL))
                self._at += 2
            elif mark == '"' and letter in "$`":
                parts.append(self._expansion())
            else:
                parts.append(LITERAL if letter == "$" else letter)
                self._at += 1
        if self._at >= len(self._text):
            self._now.left.append(("quote", "is never closed: it was read to the end of the text"))
        self._at += 1
        self._put("".join(parts))

    def _expansion(self) -> str:
        """Return what a variable holds, or the expansion as it was written, and go on behind it."""
        text, start = self._text, self._at
        if text[start] == "`" or text.startswith("$(", start):
            return self._substitution()
        if text.startswith("${", start):
            end = text.find("}", start, start + 4096)
            if end < 0:
                self._at += 1
                return LITERAL
            self._at = end + 1
            return self._value(text[start : end + 1], _DEFAULTED.fullmatch(text[start + 2 : end]))
        found = _NAME.match(text, start + 1)
        if found is None:
            self._at += 1
            return LITERAL
        self._at = found.end()
        return self._value(found[0].join(("$", "")), _DEFAULTED.fullmatch(found[0]))

    def _value(self, written: str, found: re.Match[str] | None) -> str:
        if found is None:
            self._left(written, "only a shell can work it out")
            return written
        name, operator, default = found[1], found[2] or "", found[3]
        if not operator and default:
            self._left(written, "only a shell can work it out")
            return written
        if name in self._variables and (self._variables[name] or ":" not in operator):
            return default if "+" in operator else self._variables[name]
        if "-" in operator or "=" in operator:
            self._left(name, f"is not set here: its default {default[:60]} is taken")
            return default
        return f"${{{name}}}" if written.startswith("${") else f"${name}"

    def _substitution(self) -> str:
        """Return `$(..)` as it was written: it is run by nobody. A file that is read becomes a reference."""
        text, start = self._text, self._at
        if text[start] == "`":
            end = text.find("`", start + 1)
            end = len(text) if end < 0 else end + 1
        else:
            depth, end = 0, start + 1
            while end < len(text):
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
                if depth == 0:
                    break
        self._at = end
        written = text[start:end]
        read = re.fullmatch(r"\$\((?:cat|head -n ?1|<) *(?:([~/][^\s;|&<>()$`'\"]*)|'(/[^'\n]*)') *\)", written)
        if read:
            return f"file:{read[1] or read[2]}"
        if re.fullmatch(r"\$\(pwd\)|`pwd`", written):
            return self._value("$PWD", _DEFAULTED.fullmatch("PWD"))
        self._left(written[:60], "a command in a command: nothing is run, it stands as it was written")
        return written

    def _left(self, what: str, why: str) -> None:
        if (what, why) not in self._now.left and len(self._now.left) < 50:
            self._now.left.append((what, why))

    def _put(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def _finish(self) -> None:
        if self._word is not None:
            self._now.words.append("".join(self._word)[:MAX_TEXT])
            self._now.quoted.append(self._quoted)
        self._word, self._quoted = None, False

    def _end(self, how: str) -> None:
        self._finish()
        now = self._now
        while now.words and now.words[0] in _OPENERS and not now.quoted[0]:
            del now.words[0], now.quoted[0]
        if now.words:
            now.ends = how
            self._made.append(now)
            self._set(now)
            self._now = Command()
        elif self._made and how != "\n":
            self._made[-1].ends = how

    def _set(self, command: Command) -> None:
        """Keep what a command of nothing but assignments sets."""
        words = (
            command.words[1:]
            if command.words[0] in ("export", "declare", "local", "readonly", "set")
            else command.words
        )
        if all(is_assignment(one) or one.startswith("-") for one in words):
            for one in words:
                name, equals, value = one.partition("=")
                if equals and len(value) <= MAX_VALUE and len(self._variables) < 1000 and f"${name}" not in value:
                    self._variables[name] = value

    def _redirection(self) -> re.Match[str] | None:
        letter = self._text[self._at]
        if letter in "<>" or (letter.isdigit() and self._word is None) or letter == "&":
            return _REDIRECTED.match(self._text, self._at)
        return None

    def _operator(self, letter: str) -> None:
        redirected = self._redirection()
        if redirected is not None:
            self._redirect(redirected)
        elif letter in "()":
            self._end(";")
            self._at += 1
        else:
            double = self._text[self._at : self._at + 2]
            how = double if double in ("&&", "||", ";;") else letter
            self._at += len(how)
            self._end(how)

    def _redirect(self, found: re.Match[str]) -> None:
        self._finish()
        self._at = found.end()
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1
        target = re.compile(r"[^\s;|&<>()]*").match(self._text, self._at)
        assert target is not None
        self._at = target.end()
        sign = found[0].lstrip("0123456789")
        if sign.startswith("<<") and not sign.startswith("<<<"):
            self._endings.append(target[0].strip("'\"\\"))
        elif not sign.endswith("&"):
            what = f"{found[0]} {target[0]}"[:60]
            self._left(what, "dropped: its output is kept by the studio" if ">" in sign else "nothing is read from it")

    def _skip_documents(self) -> None:
        """Go on behind the documents that begin on this line (`<<EOF`)."""
        for ending in self._endings:
            found = re.compile(rf"^[ \t]*{re.escape(ending)}[ \t]*$", re.MULTILINE).search(self._text, self._at)
            self._at = len(self._text) if found is None else min(found.end() + 1, len(self._text))
        self._endings.clear()


def names_in(text: str) -> Iterator[str]:
    """Yield the variables in a text that nobody has set."""
    for found in _REFERENCE.finditer(text):
        yield found[1] or found[2]
