"""The page of a run: how it is, how it started, where it answers, what went wrong. It opens over any screen."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="run",
    order=None,
    title="Run",
    help="Run: state, stages, endpoint, cause, earlier runs",
    widget="RunPage",
    scopes={"run": "Run"},
    actions=(
        Action("run.stop", "s", "stop", "Stop the run", writes=True),
        Action("run.chat", "c", "chat", "Chat with the run"),
        Action("run.log", "L", "log", "The run's log"),
        Action("run.edit", "e", "edit", "Edit the run's recipe", writes=True),
        Action("run.copy", "y", "copy URL", "Copy the address of the endpoint"),
        Action("run.again", "r", "run again", "Launch the run's recipe again", writes=True),
        Action("run.dismiss", "d", "dismiss", "Dismiss the failed run", writes=True),
    ),
)
