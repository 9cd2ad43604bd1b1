"""The forms in which a chat can be written to a file."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_studio_tui.domain.errors import UsageError


@dataclass(frozen=True, slots=True)
class ExportForm:
    """A form.

    Attributes:
        name: As it is named on the command line.
        suffix: How such files end.
        help: What is in it.
        asks: It is a request: written with the address of the engine that would answer.
    """

    name: str
    suffix: str
    help: str
    asks: bool = False


FORMS = (
    ExportForm("markdown", ".md", "the shown branch, to read; can be taken in again"),
    ExportForm("json", ".json", "everything, all branches; can be taken in again"),
    ExportForm("jsonl", ".jsonl", "the shown branch as OpenAI messages, one chat a line, to fine-tune with"),
    ExportForm("html", ".html", "the shown branch as one page, to read in a browser and to pass on"),
    ExportForm("curl", ".sh", "the last request, for a shell; without its key", asks=True),
    ExportForm("python", ".py", "the last request, for the openai library; without its key", asks=True),
)
_SHORT = {"md": "markdown", "htm": "html", "py": "python", "sh": "curl"}
_ENDINGS = {".markdown": "markdown", ".htm": "html", **{one.suffix: one.name for one in FORMS}}


def form_of(name: str) -> ExportForm:
    """Return the form of a name.

    Raises:
        UsageError: There is none of this name.
    """
    wanted = _SHORT.get(name.lower(), name.lower())
    for one in FORMS:
        if one.name == wanted:
            return one
    raise UsageError(f"no format {name}", advice=f"Use one of {', '.join(one.name for one in FORMS)}.")


def form_of_file(path: str) -> ExportForm:
    """Return the form that the end of a file's name says; JSON where it says none."""
    ending = next((end for end in _ENDINGS if path.lower().endswith(end)), ".json")
    return form_of(_ENDINGS[ending])
