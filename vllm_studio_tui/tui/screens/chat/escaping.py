"""What escape does in the chat: one step back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.widgets import Input

    from vllm_studio_tui.tui.screens.chat.asking import Asking
    from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen


def escape(screen: ChatScreen, asking: Asking, find: Input) -> bool:
    """Close the search, leave the edit, stop the answer, leave the prompt, follow the end; the first that applies.

    Args:
        find: The field of the search.

    Returns:
        Whether there was anything to do.
    """
    document, state, chat = screen.document, screen.state, screen.state.shown
    if find.display:
        find.display = False
        document.find("")
        document.focus()
    elif document.words:
        document.find("")
    elif document.selection:
        document.selection.clear()
        document.redraw()
    elif state.end_editing() is not None:
        screen.prompt.set_text(state.draft)
        screen.update_place()
    elif chat.id is not None and screen.answers.stop(chat.id):
        pass
    elif chat.waiting_for is not None:
        asking.give_back(chat, asking.take_back(chat))
    elif not document.has_focus:
        document.focus()
    elif not document.following:
        document.to_end()
    else:
        return False
    return True
