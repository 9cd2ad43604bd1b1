"""The models screen: what is on this machine, whether it is whole, who uses it, and what is being downloaded."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="models",
    order=8,
    title="Models",
    help="Models: what is here, what uses it, downloads",
    widget="ModelsPlace",
    scopes={"models": "Models"},
    actions=(
        Action("models.open", "enter", "open", "Open its run or its recipe; where it has none, begin one"),
        Action("models.run", "r", "run", "Run its recipe, or go on with its download", writes=True),
        Action("models.stop", "s", "pause", "Pause the download; `r` goes on where it was", writes=True),
        Action(
            "models.new", "n", "get", "Get a model by its name on the hub: looks before anything comes", writes=True
        ),
        Action("models.delete", "d,delete", "delete", "Delete the model, or cancel its download: asks", writes=True),
        Action("models.copy", "y", "copy path", "Copy the path, as a recipe takes it", palette=False),
    ),
)
