"""The error classes. An error says what happened, why, and what to do next."""

from __future__ import annotations


class StudioError(Exception):
    """Something that cannot be done, in words for the user.

    Attributes:
        title: What happened, one line.
        cause: Why, as far as it is known.
        advice: What to do next.
        exit_code: What a command exits with: 1 failed, 2 wrong usage.
    """

    exit_code = 1

    def __init__(self, title: str, *, cause: str = "", advice: str = "") -> None:
        super().__init__(title)
        self.title = title
        self.cause = cause
        self.advice = advice

    def __str__(self) -> str:
        return "\n".join(part for part in (self.title, self.cause, self.advice) if part)

    def to_json(self) -> dict[str, str | int]:
        """Return the error as every command with `--json` prints it."""
        return {"title": self.title, "cause": self.cause, "advice": self.advice, "exit_code": self.exit_code}


class UsageError(StudioError):
    """The request itself makes no sense."""

    exit_code = 2


class NotFound(StudioError):
    """A recipe, run, chat or model that does not exist."""


class InvalidRecipe(StudioError):
    """A recipe that cannot be used.

    Attributes:
        problems: Pairs of field and message, at least one.
    """

    def __init__(self, title: str, problems: list[tuple[str, str]], *, advice: str = "") -> None:
        cause = "\n".join(f"{field}: {message}" for field, message in problems)
        super().__init__(title, cause=cause, advice=advice)
        self.problems = problems


class LaunchRefused(StudioError):
    """A launch that was not tried: its port or GPUs are taken, or its engine cannot be found.

    Attributes:
        can_share_gpus: Another run claims its GPUs, and a person may agree to share them.
        in_the_way: A run of the studio has what it needs: it starts once that one is stopped.
        passing: Another launch is under way: it may start a moment later.
    """

    def __init__(
        self,
        title: str,
        *,
        cause: str = "",
        advice: str = "",
        can_share_gpus: bool = False,
        in_the_way: bool = False,
        passing: bool = False,
    ) -> None:
        super().__init__(title, cause=cause, advice=advice)
        self.passing = passing
        self.can_share_gpus = can_share_gpus
        self.in_the_way = in_the_way or can_share_gpus


class HopelessLaunch(LaunchRefused):
    """A launch that would fail: something it needs is missing or wrong. A person may insist.

    Attributes:
        certain: There is nothing to start, as where no program is installed: to insist changes nothing.
    """

    certain = False


class RunFailed(StudioError):
    """A run that ended before it was of use."""


class EngineUnreachable(StudioError):
    """No answer from an engine."""


class EngineRefused(StudioError):
    """The engine answered a request with an error.

    Attributes:
        status: The HTTP status, None for an error inside a stream.
    """

    def __init__(self, title: str, *, cause: str = "", advice: str = "", status: int | None = None) -> None:
        super().__init__(title, cause=cause, advice=advice)
        self.status = status


class StoreError(StudioError):
    """The database cannot be read or written."""


class NotSaved(StoreError):
    """An answer came whole and is not in the database yet. It is tried again.

    Attributes:
        path: The recovery file that holds it until then; None where no place could be written either.
    """

    def __init__(self, error: StudioError, path: str | None) -> None:
        lies = f"A copy lies in {path}." if path else "No place could be written: copy it before you leave."
        super().__init__(
            f"the answer is not saved yet: {error.title}",
            cause=error.cause,
            advice=f"It is tried again until it is. {lies}\n{error.advice}".rstrip(),
        )
        self.path = path


class SettingsError(StudioError):
    """A settings file or variable that cannot be understood."""
