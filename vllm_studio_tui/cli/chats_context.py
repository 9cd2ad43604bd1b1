"""`chats context` and `chats compact`: how full the context of a chat is, and making the chat shorter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.context import ContextReport, CountedBy
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.tools import tools_of
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Session, Target
    from vllm_studio_tui.services.protocols import StudioApi

SESSION = typer.Argument(help="The chat's id, the beginning of it, or last.")
COUNTED = {
    CountedBy.ENGINE: "counted by the engine, as its template writes it",
    CountedBy.FILES: "counted by the model's own files; its engine does not answer",
    CountedBy.WORDS: "words counted by the model's tokenizer, what its template adds is guessed",
    CountedBy.ESTIMATE: "a guess from the number of letters: neither the engine nor the model's files could count",
}


def register_context(nouns: typer.Typer) -> None:
    """Add the commands to `chats`."""

    @nouns.command("context")
    def context(
        session: str = SESSION, as_json: bool = typer.Option(False, "--json", help="One JSON document.")
    ) -> None:
        """How many tokens the next request of a chat takes, of how many there may be."""
        with open_studio() as studio:
            one = studio.chats.find(session)
            if (choice := tools_of(one.settings)) is not None:
                studio.tools.tools(choice.names)  # servers that were agreed to are asked, so that theirs are counted
            report = studio.context.report(one.id, _target(studio, one))
        if as_json:
            emit({"session": one.id, "context": report.to_json()})
            return
        say(f"{clean_line(one.title or 'Chat')}  [{one.id}]")
        for line in context_lines(report):
            say(line)
        if report.parts():
            table(["PART", "TOKENS"], [[name, str(tokens)] for name, tokens in report.parts()], right=[1])

    @nouns.command("compact")
    def compact(
        session: str = SESSION,
        window: bool = typer.Option(
            False, "--window", help="Leave the beginning out without a summary; needs no model."
        ),
        keep: int = typer.Option(4, "--keep", min=0, help="Turns that stay as they are."),
        undo: bool = typer.Option(False, "--undo", help="Have everything sent again."),
        auto: str | None = typer.Option(
            None,
            "--auto",
            metavar="HOW",
            help="Allow this chat to do so by itself when it is nearly full: summary, window or off.",
        ),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Make a chat shorter: its beginning is sent as a summary that the model writes. Nothing is deleted."""
        if auto is not None and (undo or window):
            raise UsageError("--auto stands alone", advice="Give it without --undo and --window.")
        with open_studio() as studio:
            one = studio.chats.find(session)
            if auto is not None:
                _allow(studio, one, auto)
                return
            if undo:
                made = studio.context.undo_compaction(_last(studio, one.id))
            else:
                made = studio.context.compact(
                    one.id, None if window else _needed(studio, one), summary=not window, keep=keep
                )
            report = studio.context.report(one.id, _target(studio, one))
        if as_json:
            emit({"message": made.to_json(), "context": report.to_json()})
            return
        if made.content and not undo:
            say(made.content)
        for line in context_lines(report):
            note(line)


def context_lines(report: ContextReport) -> list[str]:
    """Return a report in words: how full it is, who counted, what is not sent."""
    used, share = numbers.count(report.total.tokens), report.share
    about = "" if report.total.by.exact else "about "
    of = f" of {numbers.count(report.limit)} tokens ({numbers.percent(share)})" if report.limit else " tokens"
    lines = [f"{about}{used}{of}, {COUNTED[report.total.by]}"]
    if report.level == "full":
        lines.append("It is full: the engine will refuse the next question. Make it shorter: vllm-studio chats compact")
    elif report.level:
        lines.append("It is nearly full. Make it shorter: vllm-studio chats compact")
    elif report.cuts_answer:
        lines.append(f"An answer of {report.answer} tokens may be cut.")
    if report.heavy_tools:
        lines.append(f"Definitions of tools alone take {numbers.percent(report.tools_share)} of it: offer fewer.")
    if report.unseen_tools:
        lines.append("The model does not see the tools that it is offered: its chat template leaves them out.")
    if report.unknown_tools:
        lines.append(f"without the tools of {clean_line(', '.join(report.unknown_tools), limit=200)}: not started yet")
    if report.shortened is not None:
        instead = "a summary stands for them" if report.shortened == "summary" else "nothing stands for them"
        lines.append(f"{report.left_out} of {report.messages} messages are not sent: {instead}")
    if report.pictures:
        many = "1 picture" if report.pictures == 1 else f"{report.pictures} pictures"
        lines.append(f"{many} not counted: only the engine knows their tokens")
    return lines


def _target(studio: StudioApi, session: Session) -> Target | None:
    try:
        return studio.launcher.target_of_chat(session)
    except StudioError:
        return None


def _needed(studio: StudioApi, session: Session) -> Target:
    return studio.launcher.target_of_chat(session)


def _last(studio: StudioApi, session_id: str) -> str:
    """Return the id of the last summary or window of the branch that is shown, undone ones left aside."""
    for one in reversed(studio.chats.branch(session_id)):
        said = one.details.get("summary")
        if isinstance(said, dict) and not said.get("undone"):
            return one.id
    raise UsageError("this chat was not made shorter", advice="See `vllm-studio chats show SESSION`.")


def _allow(studio: StudioApi, session: Session, how: str) -> None:
    if how not in ("summary", "window", "off"):
        raise UsageError(f"--auto {how[:40]!r} is unknown", advice="One of summary, window, off.")
    others = {name: value for name, value in session.settings.items() if name != "compact"}
    studio.chats.set_settings(session.id, others if how == "off" else {**others, "compact": how})
    note(
        "It is never made shorter by itself."
        if how == "off"
        else f"When it is nearly full it is made shorter by a {how}."
    )
