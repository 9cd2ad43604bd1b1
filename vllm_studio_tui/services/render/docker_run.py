"""`docker run` for the engine of a recipe, as the studio runs it, with its port published."""

from __future__ import annotations

from vllm_studio_tui.services.render.docker_compose import published
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused, wrapped
from vllm_studio_tui.services.render.secret_words import exports
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource

#: Options by which a recipe takes the network into its own hands.
_NETWORK = ("--network", "--net", "-p", "--publish")


def render(source: RenderSource) -> Files:
    """Return `ID.sh` for each recipe that has an image.

    Raises:
        StudioError: None of them has one.
    """
    return files_of_each(source, "docker-run", ".sh", script, "#!/bin/sh\n")


def script(one: RenderedRecipe) -> tuple[str, list[str]]:
    """Return the script of a recipe, and what its head tells.

    Raises:
        StudioError: There is no image for it, or it makes no command.
    """
    recipe, command = one.recipe, one.contained
    if one.problem:
        raise refused(one.problem)
    if command is None or one.image is None:
        words = "it is run by somebody else" if one.command is None else f"{recipe.backend} has no official image"
        raise refused(f"{words}; docker.image names none")
    options = ["--init", "--name", recipe.id, "--label", f"vllm-studio.recipe={recipe.id}"]
    policy = recipe.restart.policy
    if policy == "never":
        options.insert(0, "--rm")
    else:
        options += ["--restart", "always" if policy == "always" else f"on-failure:{recipe.restart.budget}"]
    options += ["--shm-size", recipe.docker.shm]
    if recipe.docker.gpus:
        named = () if recipe.gpus == ("auto",) else recipe.gpus
        options += ["--gpus", f'"device={",".join(named)}"' if named else "all"]
    if not any(word.split("=", 1)[0] in _NETWORK for word in recipe.docker.args):
        options += ["--publish", f"{published(recipe.host)}{one.port}:{one.port}"]
    for volume in (*one.volumes, *recipe.docker.volumes):
        options += ["--volume", volume]
    for name, value in command.env.items():
        options += ["--env", f"{name}={value}"]
    for name in command.env_refs:
        options += ["--env", name]
    program, *arguments = command.argv
    options += recipe.docker.args
    if program:
        options += ["--entrypoint", program]
    lines = [*exports(one, command, plain=False), f"exec {wrapped(['docker', 'run', *options, one.image, *arguments])}"]
    told = not_said(recipe, "restart")
    if recipe.runtime == "native":
        told.append(f"{one.image} moves: name a version in docker.image of the recipe.")
    return "\n".join(lines) + "\n", told
