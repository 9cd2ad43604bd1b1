"""Answers side by side: one question to several at once, a vote, and the one that is kept. It opens over the chat."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="compare",
    order=None,
    title="Side by side",
    help="Answers side by side: vote, scores, keep one",
    widget="ComparePage",
    scopes={"compare": "Side by side"},
    actions=(
        Action("compare.previous", "left,h", "column", "The answer before", palette=False, footer="←→"),
        Action("compare.next", "right,l", "", "The next answer", palette=False),
        Action("compare.mark", "space", "is better", "This answer is better; hidden names are shown", writes=True),
        Action("compare.dismiss", "d", "none is", "No answer is better; hidden names are shown", writes=True),
        Action(
            "compare.take", "enter", "keep it, go on", "Keep this answer, and go on with it in the chat", writes=True
        ),
        Action("compare.stop", "s", "stop one", "Stop this answer; what came of it is kept", writes=True),
        Action(
            "compare.again",
            "r",
            "again",
            "Another answer in the place of this one, which stays in the chat",
            writes=True,
        ),
        Action("compare.copy", "y", "copy", "Copy the answer"),
        Action("compare.view", "v", "view", "The answers, what differs between two, how all stand after the votes"),
        Action(
            "compare.new", "n", "add one", "Have one more answer, a run or the same with other settings", writes=True
        ),
        Action("compare.edit", "e", "ask more", "Ask the same ones another question", writes=True),
        Action("compare.fold-all", "z", "", "Open or fold all thinking", palette=False),
        Action("compare.up", "up,k", "", "A line up", palette=False),
        Action("compare.down", "down,j", "", "A line down", palette=False),
        Action("compare.page-up", "pageup", "", "A page up", palette=False),
        Action("compare.page-down", "pagedown", "", "A page down", palette=False),
        Action("compare.first", "home,g", "", "To the beginning of the answer", palette=False),
        Action("compare.last", "end,G", "", "To its end, and follow", palette=False),
    ),
)
