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
        Action("monitor.earlier", "left", "cursor", "Cursor to earlier", palette=False),
        Action("monitor.later", "right", "", "Cursor to later", palette=False),
        Action("monitor.zoom-in", "plus,equals_sign", "zoom", "Shorter time", footer="+ -"),
        Action("monitor.zoom-out", "minus", "", "Longer time"),
        Action("monitor.hold", "space", "pause", "Hold the picture"),
        Action("monitor.table", "t", "table", "Processes instead of lanes"),
    ),
)
