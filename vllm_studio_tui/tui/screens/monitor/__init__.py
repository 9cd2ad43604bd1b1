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
        Action("monitor.hold", "space", "hold", "Hold the picture"),
        Action("monitor.earlier", "left,h", "moment", "Cursor to earlier", palette=False),
        Action("monitor.later", "right,l", "", "Cursor to later", palette=False),
        Action("monitor.zoom-in", "plus,equals_sign", "zoom", "Shorter time", footer="+ -"),
        Action("monitor.zoom-out", "minus", "", "Longer time"),
        Action(
            "monitor.view", "v", "view", "Processes with their commands instead of charts, panels of packages, and back"
        ),
    ),
)
