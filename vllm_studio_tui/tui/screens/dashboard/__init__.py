"""The dashboard screen: the runs and their health, the GPUs, and the recipes to launch."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="dashboard",
    order=1,
    title="Dashboard",
    help="Dashboard: runs, GPUs, events",
    widget="Dashboard",
    scopes={"dashboard": "Dashboard", "start": "What do you want to run?"},
    actions=(
        Action("dashboard.open", "enter", "open", "Open the run, the recipe, or the run of the event", palette=False),
        Action("dashboard.next-part", "tab", "part", "The next part of the dashboard", palette=False),
        Action("dashboard.previous-part", "shift+tab", "", "The part before", palette=False),
        Action("dashboard.fix", "f", "fix", "Show the fix of a failed run as a diff", writes=True),
        Action(
            "dashboard.run",
            "r",
            "run",
            "Run a recipe: that under the cursor, that of a failed run, else one that is chosen",
            writes=True,
        ),
        Action("dashboard.stop", "s", "stop", "Stop the run", writes=True),
        Action("dashboard.chat", "c", "chat", "Chat with the run"),
        Action("dashboard.log", "L", "log", "The run's log"),
        Action("dashboard.dismiss", "d", "dismiss", "Dismiss the failed run", writes=True),
        Action("dashboard.edit", "e", "edit", "Edit the recipe", writes=True),
        Action("dashboard.new", "n", "new", "What do you want to run?", writes=True),
        Action("dashboard.filter", "slash", "filter", "Show only runs and recipes with these words"),
        Action("dashboard.bench", "B", "bench", "Benchmark the run or the recipe", writes=True),
        Action("dashboard.probe", "t", "", "Test the run's parsers: one tool call, one thought", writes=True),
        Action(
            "dashboard.import", "I", "", "Engines that the studio did not start: attach, stop, clean up", writes=True
        ),
        Action("start.take", "enter", "take it", "Take what the cursor is on", writes=True, palette=False),
        Action("start.next-part", "tab", "next part", "The next part of the list", palette=False),
        Action("start.previous-part", "shift+tab", "", "The part before", palette=False),
        Action("start.filter", "slash", "filter", "Type a name, a path, a URL or a command"),
        Action("start.import", "I", "import, paste", "Import a paste or a file", writes=True),
    ),
)
