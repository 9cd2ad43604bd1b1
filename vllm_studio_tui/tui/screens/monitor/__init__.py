"""The monitor screen: GPUs, engines and the host over time."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="monitor",
    order=4,
    title="Monitor",
    help="Monitor: engines and GPUs over time",
    widget="Monitor",
    scopes={"monitor": "Monitor"},
    actions=(
        Action(
            "monitor.open",
            "enter",
            "open",
            "Open the run, also that of a process; details of a process of somebody else",
            palette=False,
        ),
        Action(
            "monitor.earlier",
            "left,h",
            "time",
            "The moment before: its values stand beside those of now",
            palette=False,
        ),
        Action("monitor.later", "right,l", "", "The moment after", palette=False),
        Action("monitor.zoom-in", "plus,equals_sign", "zoom", "Shorter time", footer="+ -"),
        Action("monitor.zoom-out", "minus", "", "Longer time, up to 30 days"),
        Action("monitor.mark", "space", "mark", "Mark the moment, which holds the picture; two marks are compared"),
        Action("monitor.why", "w", "why", "Why the run was slow at the moment, in sentences with numbers"),
        Action(
            "monitor.fix", "f", "fix", "Show what would help as a diff: of a slow run, of a failed one", writes=True
        ),
        Action("monitor.previous-stop", "left_square_bracket", "", "The event before"),
        Action("monitor.next-stop", "right_square_bracket", "", "The next event"),
        Action(
            "monitor.view", "v", "view", "Processes with their commands instead of charts, panels of packages, and back"
        ),
    ),
)
