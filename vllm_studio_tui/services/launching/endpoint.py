"""Where a run answers, and what to paste so that other programs ask it: curl, an SDK, coding tools.

Keys are named, never printed: `env:NAME` becomes `$NAME`, `file:PATH` is read by what is pasted.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import StudioApi

#: What stands for a key where the engine asks for none: clients insist on one.
NO_KEY = "none"
QUESTION = "Say hello."
#: What stands for a key of `serve`, which was shown once and is known to nobody but its owner.
SERVE_KEY = "env:STUDIO_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Something to paste.

    Attributes:
        name: A slug.
        title: What it is for.
        text: What is pasted; it ends without a line break.
        where: Where it goes.
    """

    name: str
    title: str
    text: str
    where: str = "a shell"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one engine answers.

    Attributes:
        base_url: Ends with `/v1`.
        model: The name that it answers to.
        key: The reference to its key, `env:NAME` or `file:PATH`; None: it asks for none.
        anthropic: It answers Anthropic's API too.
    """

    base_url: str
    model: str
    key: str | None = None
    anthropic: bool = False

    @property
    def root(self) -> str:
        """Return its address without `/v1`."""
        return self.base_url.removesuffix("/").removesuffix("/v1")

    @property
    def shell_key(self) -> str:
        """Return its key as a word of a shell."""
        kind, _, name = (self.key or "").partition(":")
        if kind == "env":
            return f'"${name}"'
        if kind == "file":
            return f'"$(head -n 1 {_path(name)})"'
        return NO_KEY

    def env_lines(self) -> list[str]:
        """Return the lines that tell most programs of OpenAI's API whom to ask."""
        return [
            f"export OPENAI_BASE_URL={shlex.quote(self.base_url)}",
            f"export OPENAI_API_KEY={self.shell_key}",
            f"export OPENAI_MODEL={shlex.quote(self.model)}",
        ]

    def snippets(self) -> list[Snippet]:
        """Return what there is to paste, the most general first."""
        found = [
            Snippet("url", "the address", self.base_url, "any program"),
            Snippet("curl", "curl", self._curl()),
            Snippet("python", "openai SDK (python)", self._python(), "a file, with `openai` installed"),
            Snippet("env", "env lines for agents", "\n".join(self.env_lines())),
            Snippet("opencode", "opencode", self._opencode(), "opencode.json"),
        ]
        if self.anthropic:
            found.append(Snippet("claude-code", "Claude Code", self._claude_code()))
        return [*found, Snippet("aider", "aider", self._aider())]

    def _curl(self) -> str:
        asked = {"model": self.model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 32}
        key = self.shell_key.strip('"')
        lines = [
            f"curl -sS {shlex.quote(self.base_url + '/chat/completions')}",
            "-H 'Content-Type: application/json'",
            *([f'-H "Authorization: Bearer {key}"'] if self.key else []),
            f"-d {shlex.quote(json.dumps(asked, ensure_ascii=False))}",
        ]
        return " \\\n  ".join(lines)

    def _python(self) -> str:
        kind, _, name = (self.key or "").partition(":")
        lines = ["from openai import OpenAI", ""]
        key = repr(NO_KEY)
        if kind == "env":
            lines.insert(0, "import os")
            key = f"os.environ[{name!r}]"
        elif kind == "file":
            lines.insert(0, "from pathlib import Path")
            key = f"Path({name!r}).expanduser().read_text().splitlines()[0].strip()"
        return "\n".join(
            [
                *(lines if len(lines) == 2 else [lines[0], "", *lines[1:]]),
                f"client = OpenAI(base_url={self.base_url!r}, api_key={key})",
                "answer = client.chat.completions.create(",
                f"    model={self.model!r},",
                f'    messages=[{{"role": "user", "content": {QUESTION!r}}}],',
                "    max_tokens=32,",
                ")",
                "print(answer.choices[0].message.content)",
            ]
        )

    def _opencode(self) -> str:
        kind, _, name = (self.key or "").partition(":")
        key = f"{{{kind}:{name}}}" if kind in ("env", "file") else NO_KEY
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "vllm studio",
            "options": {"baseURL": self.base_url, "apiKey": key},
            "models": {self.model: {"name": self.model}},
        }
        made = {"provider": {"vllm-studio": provider}, "model": f"vllm-studio/{self.model}"}
        return json.dumps(made, indent=2, ensure_ascii=False)

    def _claude_code(self) -> str:
        model = shlex.quote(self.model)
        return "\n".join(
            [
                f"export ANTHROPIC_BASE_URL={shlex.quote(self.root)}",
                f"export ANTHROPIC_AUTH_TOKEN={self.shell_key}",
                f"export ANTHROPIC_MODEL={model} ANTHROPIC_SMALL_FAST_MODEL={model}",
                "claude",
            ]
        )

    def _aider(self) -> str:
        return "\n".join(
            [
                f"export OPENAI_API_BASE={shlex.quote(self.base_url)} OPENAI_API_KEY={self.shell_key}",
                f"aider --model {shlex.quote('openai/' + self.model)}",
            ]
        )


def endpoint_of(run: RunView) -> Endpoint | None:
    """Return where a run answers, or will; None where its spec cannot be read. Imports the file of its engine."""
    if run.spec is None or not run.spec.base_url:
        return None
    from vllm_studio_tui.backends import registry

    backend = registry.find(run.spec.backend)
    anthropic = backend is not None and backend.anthropic_api
    return Endpoint(run.spec.base_url, run.spec.model, run.spec.api_key_ref, anthropic)


def endpoint_of_serve(studio: StudioApi, endpoint: Endpoint) -> Endpoint | None:
    """Return where the same model is asked through `serve`; None where that has no address now. Blocking."""
    try:
        url = studio.requests.live().url
        if url is None or not url.startswith(("http://", "https://")):
            return None
        key = SERVE_KEY if studio.keys.list() else None
    except StudioError:
        return None
    return replace(endpoint, base_url=f"{url.rstrip('/')}/v1", key=key)


def _path(name: str) -> str:
    """Return a path as a word of a shell; a `~` at its beginning stays the home."""
    return f"~/{shlex.quote(name[2:])}" if name.startswith("~/") else shlex.quote(name)
