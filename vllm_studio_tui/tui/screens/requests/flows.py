"""What is done with requests and keys: cancel, make, delete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.api_key import ApiKey
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.requests import LiveRequest
from vllm_studio_tui.services.serving.key_text import key_from_text, key_to_text
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question, Writing

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell


async def cancel(shell: Shell, one: LiveRequest) -> None:
    """End a request; nobody is asked, because it can be sent again and what came stays with its client."""
    if not one.served:
        shell.tell("A chat asks that itself: esc stops it there.")
        return
    await shell.in_thread(partial(shell.studio.requests.cancel, one.id))
    shell.tell(f"cancelled the request of {one.key or one.source}")


async def make_key(shell: Shell) -> ApiKey | None:
    """Ask for a name and whether it may launch; make a key, and show its secret this once."""
    name = await shell.ask(Prompt("Name of the new key", note="who will have it, such as opencode"))
    if name is None or not name.strip():
        return None
    question = Question(
        f"May {name.strip()} have models launched?",
        "A launch takes memory, and may stop another model.\nModels, limits and more: vllm-studio keys add --help",
        [Option("n", "only models that run", gentle=True), Option("l", "launch too")],
        "make no key",
    )
    answer = await shell.ask(question)
    if answer is None:
        return None
    keys = shell.studio.keys
    key, secret = await shell.in_thread(partial(keys.add, name.strip(), may_launch=answer == "l"))
    shown = Question(
        f"The key of {key.name}",
        f"{secret}\nIt is not shown again: only its hash is kept.",
        [Option("y", "copy it: to the clipboard, and to clip.txt in the home")],
        "done",
    )
    if await shell.ask(shown) == "y":
        shell.copy(secret)
    return key


async def edit_key(shell: Shell, key: ApiKey) -> bool:
    """Have what a key may do edited as text, until it makes sense; return whether it was changed."""
    text, note = key_to_text(key), "nothing after a colon: no limit; models: [] are all"
    while True:
        said = await shell.ask(Writing(f"What {key.name} may do", text, note))
        if said is None:
            return False
        try:
            changed = key_from_text(key, said)
            if changed == key:
                return False
            await shell.in_thread(partial(shell.studio.keys.change, changed))
        except UsageError as error:
            text, note = said, " ".join(part for part in (f"{error.title}.", error.advice) if part)
            continue
        shell.tell(f"changed the key of {key.name}")
        return True


async def delete_key(shell: Shell, key: ApiKey) -> bool:
    """Ask, and delete a key; return whether it was."""
    question = Question(
        f"Delete the key of {key.name}?",
        "Whoever has it is refused from then on, and it cannot be brought back. Its requests stay on record.",
        [Option("d", "delete it")],
        "keep it",
    )
    if await shell.ask(question) != "d":
        return False
    await shell.in_thread(partial(shell.studio.keys.delete, key.id))
    shell.tell(f"deleted the key of {key.name}")
    return True
