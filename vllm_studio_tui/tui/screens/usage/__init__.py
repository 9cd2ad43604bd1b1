"""The usage screen: tokens, requests and energy by model, recipe, time, key, source or chat."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="usage",
    order=5,
    title="Usage",
    help="Usage: tokens, requests, energy",
    widget="UsagePlace",
    scopes={"usage": "Usage"},
    actions=(
        Action("usage.open", "enter", "open", "Open it: the day alone, or the recipe", palette=False),
        Action("usage.view", "v", "view", "By model, recipe, day, hour, week, key, source or chat"),
        Action("usage.previous-stop", "left_square_bracket", "day", "The day before", footer="[ ]"),
        Action("usage.next-stop", "right_square_bracket", "", "The next day"),
        Action("usage.zoom-out", "minus", "days", "More days", footer="+ -"),
        Action("usage.zoom-in", "plus,equals_sign", "", "Fewer days"),
        Action("usage.earlier", "left,h", "", "The day before", palette=False),
        Action("usage.later", "right,l", "", "The next day", palette=False),
        Action("usage.export", "x", "export", "Export as CSV"),
    ),
)
