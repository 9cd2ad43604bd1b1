"""The logs screen: the output of engines, and why they failed."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="logs",
    order=6,
    title="Logs",
    help="Logs of the engines",
    widget="LogsPlace",
    scopes={"logs": "Logs"},
    actions=(
        Action("logs.fix", "f", "fix", "Show the fix of the failed run, as a diff", writes=True),
        Action("logs.previous-stop", "left_square_bracket", "error", "Error or hit before", footer="[ ]"),
        Action("logs.next-stop", "right_square_bracket", "", "Next error, or next hit while something is looked for"),
        Action("logs.find", "slash", "find", "Find words in the log"),
        Action("logs.filter", "ctrl+f", "", "Show only the lines with the words, or all again", priority=True),
        Action("logs.level", "v", "level", "All lines, warnings and errors, errors only"),
        Action("logs.source", "V", "", "Whose lines: of everybody, of one process"),
        Action("logs.fold", "z", "fold", "Fold or unfold all"),
        Action("logs.follow", "G", "follow", "Follow the end"),
        Action("logs.copy", "y", "copy", "Copy the lines under the cursor; around the cause; the last 50"),
        Action("logs.why", "w", "why", "Why it failed, and what has changed since it worked"),
        Action("logs.previous", "left,h", "stage", "To the stage before", palette=False),
        Action("logs.next", "right,l", "", "To the next stage", palette=False),
        Action("logs.open", "enter", "", "Unfold or fold what is under the cursor", palette=False),
        Action("logs.info", "i", "", "The whole line under the cursor, with what stands before its message"),
        Action("logs.copy-as", "Y", "", "Copy other lines, or the path of the log"),
        Action("logs.editor", "E", "$EDITOR", "Open the log in $EDITOR or $PAGER"),
        Action("logs.export", "x", "export", "Write the log to a file, secrets masked"),
        Action("logs.runs", "ctrl+o", "other run", "Open the log of another run, also of an earlier one"),
        Action("logs.again", "r", "", "Launch the recipe of a run that has ended again", writes=True),
    ),
)
