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
        Action("dashboard.open", "enter", "open", "Open the run", palette=False),
        Action("dashboard.launch", "l", "launch", "Launch a recipe", writes=True),
        Action("dashboard.stop", "s", "stop", "Stop the run", writes=True),
        Action("dashboard.chat", "c", "chat", "Chat with the run"),
        Action("dashboard.fix", "f", "fix", "Show the fix of a failed run, as a diff", writes=True),
        Action("dashboard.edit", "e", "", "Edit the run's recipe", writes=True),
        Action("dashboard.log", "L", "log", "The run's log"),
        Action("dashboard.dismiss", "x", "", "Dismiss a failed run", writes=True),
        Action("dashboard.new", "n", "", "A new recipe", writes=True),
        Action(
            "dashboard.probe", "p", "", "Ask the run for a tool call and a thought: do its parsers work?", writes=True
        ),
        Action(
            "dashboard.foreign", "o", "", "Engines that the studio did not start: attach, stop, clean up", writes=True
        ),
        Action("dashboard.demo", "d", "", "The demo: a small model on the CPU", writes=True),
        Action("start.take", "enter", "take it", "Take what the cursor is on", writes=True, palette=False),
        Action("start.next-part", "tab", "next part", "The next part of the list", palette=False),
        Action("start.previous-part", "shift+tab", "", "The part before", palette=False),
        Action("start.filter", "slash", "filter", "Type a name, a path, a URL or a command"),
        Action("start.import", "I", "import, paste", "Import a paste or a file", writes=True),
    ),
)
