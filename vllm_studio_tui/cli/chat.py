"""`chat`: one turn from the command line, from a prompt, a pipe, or both."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli import chat_options, chat_tools
from vllm_studio_tui.cli.chat_input import attached_files, piped_text, question_of
from vllm_studio_tui.cli.chat_printing import print_turn
from vllm_studio_tui.cli.opening import open_studio_async
from vllm_studio_tui.cli.output import emit_line, note
from vllm_studio_tui.domain.chat import Attached, Ended, Target
from vllm_studio_tui.domain.errors import NotSaved, StoreError, StudioError, UsageError

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Session
    from vllm_studio_tui.services.protocols import StudioApi

# --- the command ----------------------------------------------------------------------------------------


def register(app: typer.Typer) -> None:
    @app.command("chat", cls=chat_tools.ToolsCommand)
    def chat(
        prompt: str | None = typer.Argument(None, help="What to ask; text from a pipe is added below it."),
        recipe: str | None = typer.Option(None, "--recipe", help="The recipe, or run, that answers."),
        model: str | None = typer.Option(None, "--model", help="The model that answers."),
        base_url: str | None = typer.Option(None, "--base-url", help="A server's address, ending in /v1."),
        system: str | None = typer.Option(None, "--system", help="The system prompt."),
        temperature: float | None = typer.Option(
            None, "--temperature", min=0.0, help="How freely tokens are chosen; 0: always the likeliest."
        ),
        top_p: float | None = typer.Option(
            None, "--top-p", min=0.0, max=1.0, help="Choose among the likeliest tokens of this share."
        ),
        max_tokens: int | None = typer.Option(None, "--max-tokens", min=1, help="Tokens of the answer at most."),
        seed: int | None = typer.Option(
            None, "--seed", help="The same seed gives the same answer, where the engine can."
        ),
        session: str | None = typer.Option(None, "--session", help="Go on in a chat: its id, or last."),
        go_on: bool = typer.Option(
            False, "--continue", help="Go on where the chat was cut off, in the middle of an answer or its tools."
        ),
        image: list[str] = typer.Option([], "--image", help="A picture; may be given several times."),
        file: list[str] = typer.Option(
            [], "--file", help="Text, code, a PDF, or a pattern such as 'src/*.py'; may be given several times."
        ),
        as_json: bool = typer.Option(False, "--json", help="One JSON object a line."),
        no_save: bool = typer.Option(False, "--no-save", help="Keep nothing of it in the chats."),
        thinking: bool | None = typer.Option(None, "--thinking/--no-thinking", help="Ask the model to think, or not."),
        preset: chat_options.Preset = None,
        parameters: chat_options.Sets = None,
        stop: chat_options.Stops = None,
        schema: chat_options.Schema = None,
        form: chat_options.Form = None,
        logprobs: chat_options.Logprobs = None,
        tools: chat_tools.Tools = None,
        allow: chat_tools.Allowed = None,
        tool_choice: chat_tools.Choice = None,
    ) -> None:
        """Ask once. The answer goes to stdout, thinking, figures and calls of tools to stderr."""
        if session is not None and no_save:
            raise UsageError("--session and --no-save exclude each other", advice="Choose one.")
        offered = chat_tools.named(tools or ())
        allowed = chat_tools.allowed(allow or (), offered=bool(offered))
        if go_on and (prompt is not None or image or file or no_save or system is not None):
            raise UsageError(
                "--continue asks nothing new", advice="Leave out the question, its files, --system and --no-save."
            )
        text = None if go_on else question_of(prompt, piped_text())
        attached = attached_files(prompt or "", image, file)
        numbers_given = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        given = {**numbers_given, "logprobs": logprobs, "thinking": thinking, "tool_choice": tool_choice}
        shape = chat_options.asked(preset, parameters or (), stop or (), schema, form, **given)
        chat_tools.check_choice(shape[1], offered=bool(tools))
        named = {"recipe": recipe, "model": model, "base_url": base_url}
        ended = asyncio.run(
            _one_turn(
                text,
                attached,
                shape,
                named,
                system=system,
                session=session or ("last" if go_on else None),
                save=not no_save,
                as_json=as_json,
                offered=offered,
                allowed=allowed,
            )
        )
        if ended is None or ended.finish in ("failed", "interrupted") or chat_options.invalid(ended):
            raise typer.Exit(1)


async def _one_turn(
    text: str | None,
    attached: Sequence[Attached],
    shape: tuple[str | None, dict[str, Any]],
    named: dict[str, str | None],
    *,
    system: str | None,
    session: str | None,
    save: bool,
    as_json: bool,
    offered: tuple[str, ...],
    allowed: tuple[str, ...] | None,
) -> Ended | None:
    """Ask, or without a text go on where the chat was cut off; print the answer, and return its end."""
    not_saved: list[NotSaved] = []
    try:
        async with open_studio_async() as studio:
            if studio.storage_warning:
                note(f"warning: {studio.storage_warning}")
            if save and studio.storage_read_only:
                folder = studio.places.database.parent
                advice = f"Ask without keeping it: --no-save. Or see what is in the way: ls -ld '{folder}'"
                raise StoreError("the chats cannot be written", cause=studio.storage_warning or "", advice=advice)
            tell_recovered(studio)
            earlier = studio.chat.sessions.find(session) if session is not None else None
            target = _target(studio, named, earlier)
            sampling = chat_options.sampling_for(studio, earlier.settings if earlier is not None else {}, *shape)
            choice = None
            if allowed is not None:
                choice, allowed = await chat_tools.chosen(studio, offered, allowed)
                sampling = await chat_tools.forced(studio, sampling)
            if earlier is None and any(one.image is not None for one in attached):
                await asyncio.to_thread(studio.chat.check_sight, target)  # before a chat is begun
            session_id = _session(studio, text or "", target, named, earlier, system) if save else None
            if text is None:
                assert session_id is not None
                events = studio.chat.go_on(session_id, None, target, sampling=sampling, tools=choice)
            else:
                events = studio.chat.send(
                    session_id,
                    text,
                    target,
                    sampling=sampling,
                    images=[one.image for one in attached if one.image is not None],
                    files=[one.file for one in attached],
                    system=system,
                    tools=choice,
                    temporary=not save,
                )
            if allowed:
                events = chat_tools.decided(studio, events, allowed)
            try:
                with ended_by_signals(studio):
                    ended = await print_turn(events, as_json=as_json, not_saved=not_saved)
                if allowed == () and ended is not None:
                    chat_tools.tell_not_called(ended, as_json=as_json)
            finally:
                if session_id is not None and not as_json:
                    note(f"[chat {session_id}]")
                studio.close_chat()
                if save and not not_saved:
                    _tell_unsaved(studio)
        if not_saved and studio.chat.unsaved.reasons():
            raise StoreError(
                "the answer was printed, but is not kept in the chat yet",
                cause="\n".join(filter(None, (not_saved[0].title, not_saved[0].cause))),
                advice=_where(studio),
            )
        return ended
    except StudioError as error:
        if as_json:
            emit_line({"event": "error", "message": str(error.title), "cause": error.cause, "advice": error.advice})
        raise


def _session(
    studio: StudioApi,
    text: str,
    target: Target,
    named: dict[str, str | None],
    earlier: Session | None,
    system: str | None,
) -> str:
    """Return the id of the turn's chat; the recipe is stored in it, so that the next turn goes to the same recipe."""
    if earlier is None:
        settings = {"system": system, "recipe": target.recipe_id}
        kept = {name: value for name, value in settings.items() if value}
        return studio.chat.new_session(text, model=target.model or None, settings=kept)
    if any(named.values()) and earlier.settings.get("recipe") != target.recipe_id:
        others = {name: value for name, value in earlier.settings.items() if name != "recipe"}
        now = {**others, "recipe": target.recipe_id} if target.recipe_id else others
        studio.chat.sessions.set_settings(earlier.id, now)
    return earlier.id


def _target(studio: StudioApi, named: dict[str, str | None], earlier: Session | None) -> Target:
    """Return who answers: the named server, else the one of the chat so far, else the only ready run."""
    if earlier is not None and not any(named.values()):
        return studio.launcher.target_of_chat(earlier)
    return studio.launcher.target(**named)


# --- how it ends ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def ended_by_signals(studio: StudioApi) -> Iterator[None]:
    """On a signal that ends this program, keep the answer so far, then exit with its code. A second signal kills."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told: list[signal.Signals] = []
    watched = []

    def end(number: signal.Signals) -> None:
        told.append(number)
        studio.interrupt_answers(number.name)
        loop.remove_signal_handler(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        # What is ignored, as below nohup, stays so. Signals can be watched in the main thread alone.
        if signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, end, number)
                watched.append(number)
    try:
        yield
    except asyncio.CancelledError:
        if told:
            raise typer.Exit(128 + told[0]) from None
        raise
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


def tell_recovered(studio: StudioApi) -> None:
    """Say that answers of earlier programs were taken in."""
    if studio.recovered:
        words = "answer that was not saved is in its chat" if studio.recovered == 1 else "answers are in their chats"
        note(f"{studio.recovered} {words} now")


def _tell_unsaved(studio: StudioApi) -> None:
    for reason in studio.chat.unsaved.reasons():
        with contextlib.suppress(OSError):
            note(f"what came is not kept in the chat yet: {reason}\n  {_where(studio)}")


def _where(studio: StudioApi) -> str:
    if not studio.unsaved:
        return "No file could be written either: copy it from above."
    paths = ", ".join(map(str, studio.unsaved))
    return f"It lies in {paths}: the next command that opens the chats, such as `vllm-studio chats list`, takes it in."
