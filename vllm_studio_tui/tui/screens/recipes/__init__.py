"""The recipes screen: the table of recipes, the form to edit a recipe, its checks and its command."""

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.declaration import Screen

SCREEN = Screen(
    name="recipes",
    order=2,
    title="Recipes",
    help="Recipes: how models are launched",
    widget="RecipesPlace",
    scopes={"recipes": "Recipes", "form": "Recipe form"},
    actions=(
        Action("recipes.open", "enter", "open", "Open the recipe's run, or the recipe where it never ran"),
        Action("recipes.run", "r", "run", "Run the recipe, or those that are marked", writes=True),
        Action("recipes.stop", "s", "stop", "Stop the recipe's run", writes=True),
        Action("recipes.chat", "c", "chat", "Chat with the recipe's run"),
        Action("recipes.bench", "B", "bench", "Benchmark the recipe's run", writes=True, rare=True),
        Action("recipes.log", "L", "log", "Log of the recipe's last run"),
        Action("recipes.edit", "e", "edit", "Edit the recipe", writes=True),
        Action("recipes.new", "n", "new", "A new recipe", writes=True),
        Action("recipes.delete", "d", "delete", "Delete the recipe, or those that are marked", writes=True, rare=True),
        Action("recipes.duplicate", "D", "duplicate", "Duplicate the recipe", writes=True, rare=True),
        Action("recipes.revisions", "R", "", "Bring an earlier revision back, as a diff", writes=True),
        Action("recipes.view", "v", "compare", "Compare the two marked recipes"),
        Action("recipes.yaml", "E", "", "Edit as YAML in $EDITOR", writes=True),
        Action("recipes.import", "I", "import", "Import recipes from a file or pasted text", writes=True, rare=True),
        Action("recipes.export", "x", "export", "Export the marked recipes, or all, to a file", rare=True),
        Action("recipes.pin", "p", "", "Pin the recipe before the others, or take its pin away", writes=True),
        Action("recipes.copy-command", "y", "", "Copy the launch command"),
        Action("recipes.copy-as", "Y", "", "Copy the command, the recipe as YAML, or how a shell runs it"),
        Action("form.save", "f2", "save", "Save the recipe", writes=True, priority=True),
        Action("form.launch", "ctrl+r", "save and run", "Save and run", writes=True, priority=True),
        Action("form.up", "up", "field", "The field above", palette=False),
        Action("form.down", "down", "", "The field below", palette=False),
        Action("form.next-section", "ctrl+pagedown", "section", "Next section", priority=True),
        Action("form.previous-section", "ctrl+pageup", "", "Previous section", priority=True),
        Action("form.choose", "f4", "choose", "Choose a value: models found here, GPUs, parsers", priority=True),
        Action("form.find", "ctrl+f", "find", "Find a field by its words, its name or its flag", priority=True),
        Action("form.info", "f3", "checks", "All checks, what changes, and the command", priority=True),
        Action("form.yaml", "f9", "as YAML", "Edit as YAML in $EDITOR", writes=True, priority=True),
        Action("form.leave", "escape", "back", "Leave the form", palette=False),
    ),
)
