"""`gateway`: LiteLLM in front of `serve`, for keys with budgets, a cache, and other providers' formats."""

from __future__ import annotations

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import RunFailed
from vllm_studio_tui.domain.run import FINAL, State
from vllm_studio_tui.runs.json_documents import run_document

JSON = typer.Option(False, "--json", help="One JSON document.")


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="LiteLLM in front of `serve`, in an environment of its own.", no_args_is_help=True)
    app.add_typer(nouns, name="gateway")

    @nouns.command("install")
    def install() -> None:
        """Install LiteLLM of one version, each file compared with its hash. About 600 MB."""
        with open_studio() as studio:
            studio.gateway.install(note)
        say("installed; start it: vllm-studio gateway start")

    @nouns.command("start")
    def start(
        wait: bool = typer.Option(False, "--wait", help="Until it answers: half a minute, or more."),
        as_json: bool = JSON,
    ) -> None:
        """Start it with a configuration made from the recipes."""
        with open_studio() as studio:
            run = studio.gateway.start()
            if wait:
                for seen in studio.gateway.watch(run):
                    run = seen
                    if run.state == State.READY or run.state in FINAL:
                        break
            key, url = studio.gateway.master_key(), studio.gateway.url
        if as_json:
            emit({**run_document(run), "url": url, "master_key": key})
        elif run.state not in FINAL:
            say(f"{url}  {run.state}")
            note(f"its key: {key}")
        if run.state in FINAL:
            raise RunFailed(
                "the gateway ended", cause=run.status.title or str(run.state), advice=run.status.advice or ""
            )

    @nouns.command("stop")
    def stop(force: bool = typer.Option(False, "--force", help="Without grace.")) -> None:
        """Stop it; `serve` and the engines go on."""
        with open_studio() as studio:
            ended = studio.gateway.stop(force=force)
        say(f"{ended.run_id} {ended.state}")

    @nouns.command("status")
    def status(as_json: bool = JSON) -> None:
        """Whether it is installed and runs, where, and why not."""
        with open_studio() as studio:
            document = studio.gateway.status()
        if as_json:
            emit(document)
            return
        for name, value in document.items():
            shown = ("yes" if value else "no") if isinstance(value, bool) else value
            if shown not in (None, ""):
                say(f"{name.replace('_', ' ').ljust(11)} {shown}")

    @nouns.command("config")
    def config() -> None:
        """The configuration that a start writes; it names secrets and holds none."""
        with open_studio() as studio:
            say(studio.gateway.config(), end="")

    @nouns.command("calls")
    def calls(
        limit: int = typer.Option(50, "--limit", min=1, max=10_000, help="How many."),
        as_json: bool = JSON,
    ) -> None:
        """What it was asked last: the key, what it cost, and whether the cache answered."""
        with open_studio() as studio:
            found = studio.gateway.calls(limit)
        if as_json:
            emit({"calls": [one.to_json() for one in found]})
            return
        if not found:
            say("Nothing was asked yet.")
            return
        rows = []
        for one in found:
            document = one.to_json()
            answered = "cache" if one.cache_hit else "engine" if one.status == "success" else one.error or "failed"
            tokens = "–" if one.completion_tokens is None else str(one.completion_tokens)
            cost = "–" if one.cost is None else f"{one.cost:.6f}"
            rows.append([str(document["at"]), one.model or "–", one.key_name or "–", answered, tokens, cost])
        table(("AT", "MODEL", "KEY", "ANSWERED BY", "TOKENS", "COST"), rows, right=(4, 5))
