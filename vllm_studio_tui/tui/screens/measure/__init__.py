"""The set-up of a benchmark: what is measured, and how. It opens over any screen."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="measure",
    order=None,
    title="New benchmark",
    help="New benchmark: how many users, how long prompts and answers, what is good",
    widget="MeasurePage",
    scopes={"measure": "New benchmark"},
    actions=(
        Action("measure.up", "up", "field", "The field above", palette=False),
        Action("measure.down", "down", "", "The field below", palette=False),
        Action("measure.choose", "f4", "choose", "Choose a value of the field", priority=True),
        Action("measure.launch", "ctrl+r", "start", "Start the benchmark; a run that is not up is started first",
               writes=True, priority=True, kept=True),
    ),
)  # fmt: skip
