"""A question that is being written, with what goes with it."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_studio_tui.domain.chat import Attached


@dataclass(frozen=True, slots=True)
class Draft:
    """A question that is not sent yet.

    Attributes:
        attached: What goes with it besides the files that its words name, such as texts that were pasted.
    """

    text: str = ""
    attached: tuple[Attached, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text.strip() or self.attached)

    @property
    def title(self) -> str:
        """Its words; without any, the name of what it sends."""
        return self.text if self.text.strip() else ", ".join(one.file.name for one in self.attached)


def joined(*drafts: Draft) -> Draft:
    """Return several questions as one, with blank lines between their words; what goes with them goes once."""
    attached = dict.fromkeys(one for draft in drafts for one in draft.attached)
    return Draft("\n\n".join(draft.text for draft in drafts if draft.text.strip()), tuple(attached))
