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
        Action("logs.run", "enter,r", "run", "Choose the run, also earlier ones"),
        Action("logs.first-error", "E", "first error", "To the first error"),
        Action("logs.level", "v", "level", "All lines, warnings, errors"),
        Action("logs.find", "slash", "find", "Search the log"),
        Action("logs.find-next", "n", "", "Next hit", palette=False),
        Action("logs.find-previous", "N", "", "Hit before", palette=False),
        Action("logs.fold", "z", "fold", "Fold or open a traceback"),
        # The log of a failed run cannot be followed: there the same key applies the fix.
        Action("logs.fix", "f", "fix", "Show the fix of the failed run, as a diff", writes=True),
        Action("logs.follow", "f", "follow", "Follow the end"),
        Action("logs.copy", "y", "copy", "Copy the last 50 lines"),
    ),
)
