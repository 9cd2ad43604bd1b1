"""The requests screen: who asks which model, what waits and for what, how it ended, and the keys of those who ask."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="requests",
    order=7,
    title="Requests",
    help="Requests: who asks, what waits, how it ended; keys",
    widget="RequestsPlace",
    scopes={"requests": "Requests"},
    actions=(
        Action("requests.open", "enter", "open", "Open its chat, or its details", palette=False),
        Action("requests.stop", "s", "cancel", "Cancel the request: the engine's slot is free at once", writes=True),
        Action("requests.view", "v", "view", "Live ones and the latest, the past alone, or keys"),
        Action("requests.copy", "y", "copy id", "Copy the request's id, as answers and logs have it", palette=False),
        Action("requests.run", "r", "run it", "Launch the model that it waits for", writes=True),
        Action("requests.log", "L", "", "The log of the run that answers it"),
        Action("requests.new", "n", "new key", "Make a key for a program", writes=True),
        Action("requests.edit", "e", "edit", "Edit what the key may do", writes=True),
        Action("requests.delete", "d,delete", "delete", "Delete the key: whoever has it is refused", writes=True),
        Action("requests.export", "x", "", "Export as CSV", rare=True),
    ),
)
