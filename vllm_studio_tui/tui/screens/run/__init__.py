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
        Action(
            "run.open",
            "enter",
            "open",
            "Do what the row offers: take the fix, open the run, chat or log",
            palette=False,
        ),
        Action("run.previous", "left,h", "other fix", "The fix before", palette=False),
        Action("run.next", "right,l", "", "The next fix", palette=False),
        Action("run.next-part", "tab", "part", "The next part of the page", palette=False),
        Action("run.previous-part", "shift+tab", "", "The part before", palette=False),
        Action("run.revisions", "R", "", "Bring an earlier revision of the recipe back, as a diff", writes=True),
        Action("run.fix", "f", "fix", "Show the fix as a diff", writes=True),
        Action("run.run", "r", "run again", "Launch the run's recipe again", writes=True),
        Action("run.stop", "s", "stop", "Stop the run", writes=True),
        Action("run.chat", "c", "chat", "Chat with the run"),
        Action("run.log", "L", "log", "The run's log"),
        Action("run.copy-url", "y", "copy URL", "Copy the address of the endpoint"),
        Action("run.copy-as", "Y", "copy as", "Copy curl, SDK, env lines or the config of a coding tool"),
        Action("run.bench", "B", "bench", "Benchmark the run", writes=True),
        Action("run.edit", "e", "edit", "Edit the run's recipe", writes=True),
        Action("run.why", "w", "why", "The line of the log that shows why it failed"),
        Action("run.dismiss", "d", "dismiss", "Dismiss the failed run", writes=True),
    ),
)
