"""The bench screen: a benchmark while it is made, beside an earlier one, and how many users an engine carries."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="bench",
    order=10,
    title="Bench",
    help="Bench: is the new one better, where, and how many users it carries",
    widget="BenchPlace",
    scopes={"bench": "Bench"},
    actions=(
        Action("bench.stop", "s", "stop", "Stop the benchmark; what was measured is kept", writes=True),
        Action("bench.mark", "space", "mark", "Mark a result; two marked ones are compared", palette=False),
        Action("bench.open", "enter", "open", "Open the result; all figures of the step", palette=False),
        Action("bench.new", "n", "new", "A new set-up: what is measured, and how", writes=True),
        Action("bench.again", "r", "run again", "Measure the same once more", writes=True),
        Action("bench.view", "v", "view", "Plot and steps, all results; of two marked ones the comparison"),
        Action("bench.previous", "left,h", "against", "Compare with the result before", palette=False),
        Action("bench.next", "right,l", "", "Compare with the result after", palette=False),
        Action("bench.export", "x", "export", "Export results as CSV or JSON to a file"),
        Action("bench.edit", "e", "limits", "The limits: the longest wait and the lowest speed that are good"),
        Action("bench.why", "w", "why", "What was found, in sentences: comparison, limit, what binds, definitions"),
        Action("bench.import", "I", "", "Read a result of vllm bench serve or guidellm", writes=True),
        Action("bench.duplicate", "D", "duplicate", "A new set-up that begins as that of the result", writes=True),
        Action("bench.revisions", "R", "take revision", "Bring the result's revision of the recipe back, as a diff",
               writes=True),
        Action("bench.delete", "d,delete", "delete", "Delete the result", writes=True, rare=True),
        Action("bench.next-part", "tab", "part", "The next part: steps, results", palette=False),
        Action("bench.previous-part", "shift+tab", "", "The part before", palette=False),
    ),
)  # fmt: skip
