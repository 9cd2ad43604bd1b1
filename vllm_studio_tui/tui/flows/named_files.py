"""Files that a question names."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.chat import Attached
from vllm_studio_tui.tui.shell import Shell


async def named_files(shell: Shell, text: str, *, already: Sequence[Attached] = ()) -> Sequence[Attached]:
    """Read the files that a question names as `@path`, and say what looks like one and is none.

    Args:
        already: Files that go with it anyway.

    Raises:
        UsageError: One of them cannot be sent, or they are too much together.
    """
    from vllm_studio_tui.services.chat.attachments import reading

    if "@" not in text:
        return reading.checked(already)
    found = await shell.in_thread(lambda: reading.resolve(text, already=already))
    for note in found.notes:
        shell.tell(note, "warning")
    return found.attached
