"""The context of chats as a service: how full it is, making it shorter, and taking that back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.context import ContextReport, Counted
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.tools import tools_of
from vllm_studio_tui.services.chat.context.counting import TokenCounter
from vllm_studio_tui.services.chat.context.model_folder import model_folder
from vllm_studio_tui.services.chat.context.shortening import KEPT_TURNS, place_to_cut, shortened, shortening_of
from vllm_studio_tui.services.chat.context.summary import write_summary
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.messages import MessageRows

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Stream, Target
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.services.chat.asking_once import Record
    from vllm_studio_tui.services.recipes.recipes import Recipes
    from vllm_studio_tui.store.database import Database

KnownTools = Callable[[Sequence[str]], tuple[Sequence[Mapping[str, Any]], Sequence[str]]]
#: The share of the context from which a chat that may be made shorter by itself is.
BY_ITSELF = 0.9


class ChatContext:
    """How full the contexts of chats are. Everything blocks.

    Args:
        model_folder: The folder with the files of the model that a target serves, or a recipe names; None: unknown.
        stream: Asks an engine; None: the client of `inference`.
        record: Keeps the request by which a summary was written.
        known_tools: Returns the tools of these names as requests offer them, and the servers whose tools are not known.
    """

    def __init__(
        self,
        db: Callable[[], Database],
        model_folder: Callable[[Target | None, str | None], Path | None],
        *,
        stream: Stream | None = None,
        record: Record | None = None,
        known_tools: KnownTools | None = None,
    ) -> None:
        self._db = db
        self._stream = stream
        self._record = record
        self._known_tools = known_tools
        self._counter = TokenCounter(model_folder)

    @classmethod
    def of(
        cls,
        places: Places,
        db: Callable[[], Database],
        recipes: Callable[[], Recipes],
        record: Record | None,
        known_tools: KnownTools,
    ) -> ChatContext:
        """Return the contexts of the chats of a studio."""
        return cls(db, partial(model_folder, places, recipes), record=record, known_tools=known_tools)

    # --- counting ---------------------------------------------------------------------------------------

    def count(self, text: str, target: Target | None = None) -> Counted:
        """Return the tokens of a text: a file that is attached, a prompt."""
        return self._counter.text(text, target)

    def report(
        self,
        session_id: str | None,
        target: Target | None = None,
        *,
        draft: str = "",
        leaf_id: str | None = None,
        system: str | None = None,
        tools: Sequence[str] | None = None,
    ) -> ContextReport:
        """Return what the next request of a chat would have.

        Args:
            target: Who would answer; None: nobody does now, and its model's files count, or a guess.
            draft: What is typed.
            leaf_id: The message that is read up to; None: the chat's own.
            system: The system prompt; None: the one in the chat's settings.
            tools: Names of tools and servers that are offered; None: those in the chat's settings. No server is
                started for them.
        """
        session, branch = None, []
        if session_id is not None:
            session = self._sessions.get(session_id)
            branch = self._messages.branch(session_id, leaf_id)
        settings = session.settings if session is not None else {}
        given = settings.get("system")
        system = system if system is not None else given if isinstance(given, str) and given else None
        if tools is None and (chosen := tools_of(settings)) is not None:
            tools = chosen.names or ()
        defined, unknown = self._known_tools(tools) if tools and self._known_tools is not None else ([], [])
        report = self._report(branch, settings, session, target, draft, system, defined)
        return replace(report, unknown_tools=tuple(unknown)) if unknown else report

    def _report(
        self,
        branch: Sequence[Message],
        settings: Mapping[str, Any],
        session: Session | None,
        target: Target | None,
        draft: str,
        system: str | None,
        tools: Sequence[Mapping[str, Any]],
    ) -> ContextReport:
        recipe = settings.get("recipe")
        recipe = recipe if isinstance(recipe, str) else None
        whole = [*branch, *([Message("", "", "user", draft)] if draft.strip() else [])]
        what = shortened(whole, system)
        messages = request_messages(whole, system, target)
        thinking = settings.get("thinking")
        template = {"enable_thinking": thinking, "thinking": thinking} if isinstance(thinking, bool) else {}
        counter = self._counter

        def of_text(text: str) -> int:
            return counter.text(text, target, recipe=recipe).tokens

        def of_chat(asked: Sequence[Mapping[str, Any]], offered: Sequence[Mapping[str, Any]] = ()) -> Counted:
            return counter.chat(asked, target, recipe=recipe, tools=offered, template=template)

        # What tools cost can only be seen beside a question: before the first one a single letter stands for it.
        some = messages or ([{"role": "user", "content": "."}] if tools else [])
        bare = of_chat(some) if some else Counted(0)
        total = of_chat(some, tools) if tools else bare
        defined = max(0, total.tokens - bare.tokens)
        if not messages:
            total = replace(total, tokens=defined)
        images = [image for one in what.branch if one.role == "user" for image in one.images]
        seen = counter.pictures(images, target)
        if seen is not None:
            total = replace(total, tokens=total.tokens + seen)
        files = [file for one in what.branch for file in one.files if file.text]
        most = settings.get("max_tokens")
        return ContextReport(
            total,
            counter.limit(target, recipe or (session.model if session is not None else None)),
            system=of_text(what.system or ""),
            files=sum(file.tokens if file.tokens is not None else of_text(file.text or "") for file in files),
            tools=defined,
            draft=of_text(draft) if draft.strip() else 0,
            answer=most if isinstance(most, int) and not isinstance(most, bool) else None,
            seen=seen or 0,
            pictures=len(images) if seen is None else 0,
            messages=sum(shortening_of(one) is None for one in branch),
            left_out=what.left_out,
            shortened=what.how,
            offered=len(tools),
        )

    def count_answer(self, message_id: str, target: Target | None) -> Message:
        """Return an answer with its tokens counted here, if its engine sent no counts; they are kept with it, marked.

        They go into `details.counted`: its usage stays what the engine said.
        """
        message = self._messages.get(message_id)
        known = message.usage.completion_tokens is not None or "counted" in message.details
        if message.role != "assistant" or known or not (message.content or message.reasoning):
            return message
        recipe = self._sessions.get(message.session_id).settings.get("recipe")
        text = message.reasoning + message.content
        counted = self._counter.text(text, target, recipe=recipe if isinstance(recipe, str) else None)
        found = {"completion_tokens": counted.tokens, "by": str(counted.by)}
        now = self._messages.get(message_id)
        if now.finish != message.finish or now.reasoning + now.content != text:
            return now  # it is written on meanwhile
        return self._messages.set_details(message_id, {**now.details, "counted": found})

    # --- making it shorter ------------------------------------------------------------------------------

    def compact(
        self, session_id: str, target: Target | None = None, *, summary: bool = True, keep: int = KEPT_TURNS
    ) -> Message:
        """Make a chat shorter: what was said before its last turns is sent as a summary, or no more.

        Args:
            target: Who writes the summary; needed for one.
            keep: How many turns stay as they are.

        Returns:
            The message that stands where it was done, with the summary to read; `undo_compaction` takes it back.

        Raises:
            StudioError: There is nothing to leave out, or the model wrote no summary.
        """
        session = self._sessions.get(session_id)
        branch = self._messages.branch(session_id)
        if branch and branch[-1].finish == "streaming":
            raise UsageError("an answer is being written", advice="Wait for its end, or stop it.")
        now = shortened(branch)
        cut = place_to_cut(now.branch, keep)
        if not cut:
            turns = "turn" if keep == 1 else "turns"
            cause = f"Only what stands before the last {keep} {turns} can be left out."
            raise UsageError("there is nothing to leave out yet", cause=cause, advice="Keep fewer: --keep 1.")
        old = now.branch[:cut]
        text = ""
        if summary:
            if target is None:
                raise UsageError("nobody is there to write a summary", advice="Launch the model, or use --window.")
            limit = self._counter.limit(target, None)
            before = (now.system or "") if now.how == "summary" else ""
            text = write_summary(target, old, before=before, limit=limit, stream=self._stream, record=self._record)
        said = {
            "until": old[-1].id,
            "messages": now.left_out + len(old),
            "kept": keep,
            "by": target.model if summary and target is not None else None,
        }
        message = Message(
            "", session.id, "system", text, branch[-1].id, details={"summary": said}, finish="stop" if summary else None
        )
        return self._messages.append(message)

    def compact_if_full(self, session_id: str, target: Target | None, *, draft: str = "") -> Message | None:
        """Make a chat shorter that may be (setting `compact` of the chat: summary or window) and has become full.

        Returns:
            The message that stands where it was done; None: it was not. A summary that fails becomes a window.
        """
        how = self._sessions.get(session_id).settings.get("compact")
        if how not in ("summary", "window"):
            return None
        share = self.report(session_id, target, draft=draft).share
        if share is None or share < BY_ITSELF:
            return None
        for keep in (KEPT_TURNS, 1):
            for summary in (True, False) if how == "summary" and target is not None else (False,):
                try:
                    return self.compact(session_id, target, summary=summary, keep=keep)
                except StudioError:
                    continue
        return None

    def undo_compaction(self, message_id: str, *, undone: bool = True) -> Message:
        """Have all sent again that a summary or a window stands for; or, with `undone` False, not any more."""
        message = self._messages.get(message_id)
        said = shortening_of(message)
        if said is None:
            raise UsageError("this message is no summary", advice="See `vllm-studio chats show SESSION --json`.")
        said.pop("undone", None)
        details = {**message.details, "summary": {**said, **({"undone": True} if undone else {})}}
        return self._messages.set_details(message_id, details)

    @property
    def _messages(self) -> MessageRows:
        return MessageRows(self._db())

    @property
    def _sessions(self) -> ChatRows:
        return ChatRows(self._db())
