"""The monitor screen: GPUs, engines and the host over time."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="monitor",
    order=4,
    title="Monitor",
    help="Monitor: engines and GPUs over time",
    widget="Monitor",
    scopes={"monitor": "Monitor", "axis": "Monitor: time", "processes": "Monitor: processes"},
    actions=(
        Action(
            "monitor.open",
            "enter",
            "open",
            "Open the run, also that of a process; details of a process of somebody else; while it is told why a "
            "run was slow, its requests of that time",
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
        Action(
            "monitor.limit",
            "e",
            "",
            "Limit the key whose requests made it slow, after showing what changes",
            writes=True,
        ),
        Action("monitor.pin", "p", "", "Pin the moment with a note, or take its pin away", writes=True),
        Action(
            "monitor.new",
            "n",
            "alert",
            "New alert: what to look at, and from when on it speaks",
            writes=True,
            rare=True,
        ),
        Action("monitor.previous-stop", "left_square_bracket", "", "The event before"),
        Action("monitor.next-stop", "right_square_bracket", "", "The next event"),
        Action(
            "monitor.view",
            "v",
            "view",
            "In place of charts two marked moments compared, processes with commands, a Ray cluster, panels; and back",
        ),
        Action("monitor.stop", "s", "hold", "Have the recording stand still", palette=False),
        Action("monitor.run", "r", "go on", "Let the recording go on", palette=False),
        Action("axis.now", "G", "", "To now, and follow it; in a recording to its end", palette=False),
        Action("axis.begin", "g", "", "In a recording to its beginning; else to the first row", palette=False),
        Action(
            "processes.open", "enter", "open", "Open its run; all that is known of one of somebody else", palette=False
        ),
        Action(
            "processes.stop",
            "s",
            "stop, signal",
            "Stop the run, or send a signal, after saying what it does",
            writes=True,
        ),
        Action("processes.left", "left,h", "fold", "Fold it; where it is folded, to its parent", palette=False),
        Action("processes.right", "right,l", "", "Unfold it", palette=False),
        Action("processes.fold-all", "z", "", "Fold all trees, or open them", palette=False),
        Action("processes.log", "L", "log", "Log of its run", palette=False),
        Action("processes.copy", "y", "", "Copy its number", palette=False),
    ),
)
