"""Chats: sessions that hold a tree of messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.sampling import AnswerForm

#: How an answer ended. `streaming` is one that is not over, or whose program died: see `interrupted`.
FINISHES = ("streaming", "stop", "length", "tool_calls", "stopped", "interrupted", "failed")
#: Bytes that a file of chats may have.
MAX_FILE = 64 * 1024 * 1024
#: Heading of a message in a document, by its role.
ROLE_TITLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. `arguments` is the raw JSON text, which may be broken."""

    id: str
    name: str
    arguments: str

    def to_json(self) -> dict[str, str]:
        """Return the call as messages are told and exported with."""
        return {"id": self.id, "name": self.name, "arguments": self.arguments}


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request as the engine counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    tools_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def to_json(self) -> dict[str, Any]:
        """Return the tokens as chats are told and exported with; unknown is null."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "cached_tokens": self.cached_tokens,
            "tools_tokens": self.tools_tokens,
        }


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: until the first token, of thinking, of the whole; tokens per second after the first."""

    ttft: float | None = None
    thinking: float | None = None
    total: float | None = None
    tokens_per_second: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return seconds and speed as chats are told and exported with; unknown is null."""
        return {
            "ttft": self.ttft,
            "thinking": self.thinking,
            "total": self.total,
            "tokens_per_second": self.tokens_per_second,
        }


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is sent with a question.

    Attributes:
        name: What it is called in the chat, without folders.
        media_type: Such as `text/x-python`, `application/pdf`, `image/png`.
        size: Bytes of the file.
        text: What is sent of it as text; None for a picture, whose data URL is in `Message.images`.
        tokens: Roughly how many tokens the text has; None: unknown.
        path: Where it was read from; None: it was pasted.
        cut: Not all of it is sent.
        note: What a person is told of it besides: pages, the size of a picture, that it was scaled down.
    """

    name: str
    media_type: str = "text/plain"
    size: int = 0
    text: str | None = None
    tokens: int | None = None
    path: str | None = None
    cut: bool = False
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the attachment as messages are kept, told and exported with."""
        return {
            "name": self.name,
            "media_type": self.media_type,
            "size": self.size,
            "text": self.text,
            "tokens": self.tokens,
            "path": self.path,
            "cut": self.cut,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that goes with a question which is not sent yet.

    Attributes:
        image: Its data URL where it is a picture; None for text.
    """

    file: Attachment
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `seq` orders messages within all chats; `parent_id` makes them a tree.

    Attributes:
        files: What was sent with a question; a picture's data is in `images`.
        details: What else is known of it, as plain JSON: of a tool's result how the call ended (`call`), of an answer
            what the engine said of its making (`engine`), the family in whose form its calls stood in the text, as the
            engine had parsed none (`recovered`), the form that was asked for and whether it has it (`form`),
            the likelihoods of its tokens (`logprobs`), what was not sent to its engine and why (`not_sent`), or
            is perhaps not looked at (`unsure`), how it does not keep to the choice of a tool (`unheeded`), whose it is
            of several side by side (`side`), of a summary what it stands for (`summary`), in which field a server
            sent what was thought before calls (`thinking_field`).
        bookmarked_at: When a person marked it, ISO 8601 UTC.
        deleted_at: With it, it is out of sight and not sent, with all below it.
        unsaved: Why the end of an answer is not in the database yet; None where it is.
    """

    id: str
    session_id: str
    role: str
    content: str
    parent_id: str | None = None
    seq: int = 0
    reasoning: str = ""
    model: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    images: tuple[str, ...] = ()
    finish: str | None = None
    error: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    timings: Timings = field(default_factory=Timings)
    created_at: str = ""
    unsaved: str | None = None
    files: tuple[Attachment, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    bookmarked_at: str | None = None
    deleted_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the message as `chats show --json` prints it."""
        return {
            "id": self.id,
            "parent_id": self.parent_id,
            "role": self.role,
            "content": self.content,
            "reasoning": self.reasoning,
            "model": self.model,
            "tool_calls": [call.to_json() for call in self.tool_calls],
            "tool_call_id": self.tool_call_id,
            "images": list(self.images),
            "files": [one.to_json() for one in self.files],
            "details": dict(self.details),
            "bookmarked_at": self.bookmarked_at,
            "finish": self.finish,
            "error": self.error,
            "usage": self.usage.to_json(),
            "stats": self.timings.to_json(),
            "created_at": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class Session:
    """A chat. Times are ISO 8601 UTC. `leaf_id` is the message shown last; with `deleted_at` it is trash."""

    id: str
    title: str
    model: str | None = None
    parent_id: str | None = None
    created_at: str = ""
    updated_at: str = ""
    messages: int = 0
    leaf_id: str | None = None
    deleted_at: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    pinned_at: str | None = None
    tags: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the chat as `chats list --json` prints it."""
        return {
            "id": self.id,
            "title": self.title,
            "model": self.model,
            "parent_id": self.parent_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "messages": self.messages,
            "leaf_id": self.leaf_id,
            "deleted_at": self.deleted_at,
            "pinned_at": self.pinned_at,
            "tags": list(self.tags),
            "settings": dict(self.settings),
        }


def total_usage(messages: Sequence[Message]) -> dict[str, int | None]:
    """Return the tokens of messages, added up; what no message knows is None."""
    totals: dict[str, int | None] = {}
    for name in ("prompt_tokens", "completion_tokens"):
        known = [value for one in messages if (value := getattr(one.usage, name)) is not None]
        totals[name] = sum(known) if known else None
    known = [value for value in totals.values() if value is not None]
    totals["total_tokens"] = sum(known) if known else None
    return totals


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that holds the words that were searched for.

    Attributes:
        snippet: A piece around the first of them.
        marks: Where they stand in the snippet: pairs of start and end.
    """

    session_id: str
    title: str
    message_id: str
    role: str
    created_at: str
    snippet: str
    marks: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `chats search --json` prints of it."""
        return {
            "session": self.session_id,
            "title": self.title,
            "message": self.message_id,
            "role": self.role,
            "created_at": self.created_at,
            "snippet": self.snippet,
            "marks": [list(mark) for mark in self.marks],
        }


# --- what a stream is asked with ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    Attributes:
        base_url: Ends in `/v1`.
        model: The model's name in requests.
        api_key: The secret itself, already resolved; never stored or shown.
        backend: Kind of engine, for its dialect.
        run_id: The run that serves it and its `attempt`, None for an external server.
        thinking_opened: The engine's template opens the thinking block in the prompt, so that only the closing
            tag appears in the answer.
        vision: Whether its recipe says that pictures may be sent; None: that is left to the model.
        user: The key is this user's password, and is sent so (HTTP Basic) rather than as a bearer token.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    backend: str = "external"
    run_id: str | None = None
    attempt: int = 1
    recipe_id: str | None = None
    thinking_opened: bool = False
    vision: bool | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """What shapes an answer; None leaves it to the engine.

    Attributes:
        extra: Fields of a request, as the engine calls them.
        others: Further parameters of `domain.sampling`, by our names.
        form: What the answer must be.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    thinking: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)
    form: AnswerForm | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One completion: OpenAI chat messages (plain dicts), tools as OpenAI function objects.

    Attributes:
        raw: The whole of what is sent, as somebody wrote it, in the place of all else.
    """

    messages: tuple[Mapping[str, Any], ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] | None = None


# --- what a stream yields -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer. `content` and `reasoning` are appended; either may be empty.

    `tokens` is how many more have come with it, about: those whose text is held back are counted too.
    """

    content: str = ""
    reasoning: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Relabel:
    """All content so far was thinking: a closing tag came without an opening one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a stream.

    Attributes:
        finish: One of `FINISHES` but streaming.
        error: What went wrong, in words, when `finish` is interrupted or failed.
        details: What else is known of the answer, for `Message.details`.
    """

    finish: str
    usage: TokenUsage = field(default_factory=TokenUsage)
    timings: Timings = field(default_factory=Timings)
    tool_calls: tuple[ToolCall, ...] = ()
    model: str | None = None
    error: str | None = None
    advice: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the figures of the answer as `chat --json` prints them: tokens, seconds, tokens per second."""
        usage = {name: value for name, value in self.usage.to_json().items() if name != "tools_tokens"}
        return {"finish": self.finish, "model": self.model, "usage": usage, **self.timings.to_json()}


StreamEvent = Delta | Relabel | Ended

#: A function that asks an engine and yields the answer as it comes.
Stream = Callable[[Target, ChatRequest], AsyncGenerator[StreamEvent, None]]
