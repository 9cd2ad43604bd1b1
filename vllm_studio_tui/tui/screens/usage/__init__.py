"""The usage screen: tokens, requests and energy by model, recipe, day or chat."""

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
        Action("usage.longer", "right_square_bracket", "days", "More days", footer="[ ]"),
        Action("usage.shorter", "left_square_bracket", "", "Fewer days"),
        Action("usage.by", "b", "by", "By model, recipe, day or chat"),
        Action("usage.sort", "s", "sort", "Sort by the next column"),
        Action("usage.earlier", "left", "", "The day before", palette=False),
        Action("usage.later", "right", "", "The next day", palette=False),
        Action("usage.export", "x", "export", "Export as CSV"),
    ),
)
