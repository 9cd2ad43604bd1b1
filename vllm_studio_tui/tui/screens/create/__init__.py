"""The page on which a model becomes a recipe: five fields, and what comes of them. It opens over any screen."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="create",
    order=None,
    title="New recipe",
    help="New recipe: engine, GPUs, how long for how many, and whether it fits",
    widget="CreatePage",
    scopes={"create": "New recipe", "cells": "How long, for how many"},
    actions=(
        Action("create.up", "up", "field", "The field above", palette=False),
        Action("create.down", "down", "", "The field below", palette=False),
        Action(
            "create.take", "enter", "take", "Take the engine, the cell or the change under the cursor", palette=False
        ),
        Action("create.mark", "space", "yes, no", "Take what is suggested, or leave it", palette=False),
        Action("create.choose", "f4", "choose", "Choose a value of the field", priority=True),
        Action("create.find", "ctrl+f", "all flags", "All fields and flags, in the form", priority=True),
        Action("create.why", "w", "why", "Why it is so, in sentences, and all that was checked"),
        Action("create.save", "f2", "save", "Save the recipe", writes=True, priority=True),
        Action("create.launch", "ctrl+r", "save and run", "Save the recipe, and run it", writes=True, priority=True),
        Action("cells.left", "left,h", "cell", "A cell to the left: fewer users", palette=False),
        Action("cells.right", "right,l", "", "A cell to the right: more users", palette=False),
        Action("cells.up", "up,k", "", "A cell above: shorter talks", palette=False),
        Action("cells.down", "down,j", "", "A cell below: longer talks", palette=False),
        Action("cells.take", "enter", "take it", "Fill in its length and its users", palette=False),
    ),
)
