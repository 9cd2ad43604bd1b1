"""The chat: sessions, the transcript, the prompt, and answers as they come."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="chat",
    order=3,
    title="Chat",
    help="Chat with a model",
    widget="ChatPlace",
    scopes={"chat": "Chat", "transcript": "Chat: transcript", "chats": "Chat: list"},
    actions=(
        Action("chat.transcript", "tab", "transcript", "Between prompt and transcript", priority=True, palette=False),
        Action("chat.thinking", "ctrl+t", "thinking", "Show or fold all thinking", priority=True),
        Action("chat.new", "ctrl+n", "new", "A new chat", priority=True),
        Action("chat.chats", "ctrl+o", "chats", "Chats: open, search, rename, delete", priority=True),
        Action("chat.model", "f2", "model", "Choose the model", priority=True),
        Action("chat.settings", "f3", "settings", "System prompt, temperature, tokens, thinking", priority=True),
        Action("chat.editor", "f4", "", "Write the prompt in $EDITOR", priority=True),
        Action("chat.find", "ctrl+f", "", "Find in this chat", priority=True),
        Action("chat.copy-chat", "f6", "", "Copy the whole chat", priority=True),
        Action("transcript.up", "up,k", "message", "Message above", palette=False),
        Action("transcript.down", "down,j", "", "Message below", palette=False),
        Action("transcript.page-up", "pageup", "", "A page up", palette=False),
        Action("transcript.page-down", "pagedown,space", "", "A page down", palette=False),
        Action("transcript.first", "home,g", "", "To the first message", palette=False),
        Action("transcript.last", "end,G", "", "To the end, and follow", palette=False),
        Action("transcript.fold", "enter", "fold", "Open or fold thinking and tools", palette=False),
        Action("transcript.copy", "y", "copy", "Copy the message"),
        Action("transcript.copy-code", "Y", "copy code", "Copy a code block of the message, as its source"),
        Action("transcript.regenerate", "r", "again", "Another answer, keeping this one", writes=True),
        Action("transcript.edit", "e", "edit", "Edit the question and ask again", writes=True),
        Action("transcript.continue", "c", "continue", "Continue a cut answer", writes=True),
        Action("transcript.fork", "F", "fork", "Fork the chat here", writes=True),
        Action("transcript.previous", "left_square_bracket,left", "", "The answer before, of several"),
        Action("transcript.next", "right_square_bracket,right", "", "The next answer, of several"),
        Action("transcript.find", "slash", "", "Find in this chat", palette=False),
        Action("transcript.find-next", "n", "", "Next hit", palette=False),
        Action("transcript.find-previous", "N", "", "Hit before", palette=False),
        Action("chats.rename", "f2", "rename", "Rename the chat", writes=True, priority=True),
        Action("chats.delete", "delete,ctrl+d", "delete", "Put the chat into the trash", writes=True, priority=True),
    ),
)
