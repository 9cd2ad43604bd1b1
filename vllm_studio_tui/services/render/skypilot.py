"""A SkyPilot task for each recipe, served by SkyServe where it has copies: https://docs.skypilot.co

SkyPilot runs lines of shell on machines that it rents or finds, in the recipe's image, or, where the recipe's
`handover.setup` says how the engine gets there, on the machine itself.
"""

from __future__ import annotations

import shlex
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.ranks import PORTS, RankPlace
from vllm_studio_tui.services.render.kube_words import kube_name, size_of
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused, wrapped
from vllm_studio_tui.services.render.pod import HUB_CACHE, LONG_START, contained, gpus_a_pod
from vllm_studio_tui.services.render.secret_words import exports
from vllm_studio_tui.services.render.source import Files, RenderedCommand, RenderedRecipe, RenderSource
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Requests a second for one copy, before SkyServe starts another.
EACH_SECOND = 1.0
#: What a machine of several knows: the address of the first, its own, and its number.
HEAD, OWN, RANK = "$VLLM_STUDIO_HEAD", "$VLLM_STUDIO_OWN", "$SKYPILOT_NODE_RANK"
#: Ports at which ranks meet lie so far above that of HTTP.
ABOVE = 1000
_GIB = {"Ki": 1 / 2**20, "Mi": 1 / 2**10, "Gi": 1.0, "Ti": 2.0**10, "": 1 / 2**30}


def render(source: RenderSource) -> Files:
    """Return `ID.yaml` for each recipe.

    Raises:
        StudioError: None of them can be a task.
    """
    return files_of_each(source, "skypilot", ".yaml", _text)


def _text(one: RenderedRecipe) -> tuple[str, list[str]]:
    name = kube_name(one.recipe.id)
    document, told = task(one, name)
    command = contained(one)
    secrets = [word for key in command.env_refs for word in ("--secret", key)]
    file = f"{one.recipe.id}.yaml"
    words = ["sky", "serve", "up", "-n", name] if "service" in document else ["sky", "launch", "-d", "-c", name]
    start = shlex.join([*words, *secrets, *one.recipe.handover.options, file])
    return yaml_text(document), [f"Start: {'; '.join([*exports(one, command, plain=False), start])}", *told]


def served(one: RenderedRecipe) -> bool:
    """Return whether SkyServe looks after it: it has copies."""
    return one.recipe.handover.replicas != 1 or one.recipe.handover.max_replicas is not None


def task(one: RenderedRecipe, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the task of a recipe, and what a person must know of it.

    Raises:
        StudioError: It cannot be a task.
    """
    command = contained(one)
    recipe, handover = one.recipe, one.recipe.handover
    told: list[str] = []
    bare = bool(handover.setup) and recipe.runtime == "native"
    made: dict[str, Any] = {"name": name, "resources": _resources(one, bare), "num_nodes": recipe.node_count}
    if served(one):
        made["service"] = _service(one)
        if handover.max_replicas is not None:
            told.append(f"SkyServe scales it by {EACH_SECOND:g} request a second for each copy.")
    if not bare:
        made["config"] = {"docker": {"run_options": [f"--shm-size={recipe.docker.shm}", *recipe.docker.args]}}
        told.append("On Kubernetes and SSH node pools SkyPilot does not use docker's options in config.docker.")
        if recipe.runtime == "native":
            told.append(f"{one.image} moves: name a version in docker.image of the recipe.")
    _add_files(one, made, told)
    if command.env:
        made["envs"] = dict(command.env)
    if command.env_refs:
        made["secrets"] = dict.fromkeys(command.env_refs)
    if handover.setup:
        made["setup"] = "\n".join(handover.setup) + "\n"
    made["run"] = _run(one, command)
    return made, told + not_said(recipe, "ready_timeout", "health_path", "handover", "strategy")


def _resources(one: RenderedRecipe, bare: bool) -> dict[str, Any]:
    recipe, handover = one.recipe, one.recipe.handover
    gpus = gpus_a_pod(one, recipe.node_count)
    made: dict[str, Any] = {}
    if gpus:
        if not handover.accelerator:
            raise refused("SkyPilot must be told the kind of GPU: handover.accelerator, as H100")
        made["accelerators"] = {handover.accelerator: gpus}
    if handover.cpus is not None:
        made["cpus"] = f"{handover.cpus}+"
    if handover.memory is not None:
        size = size_of(handover.memory, "handover.memory")
        number = size.rstrip("KMGTi")
        made["memory"] = f"{float(number) * _GIB[size[len(number) :]]:g}+"
    if not bare:
        made["image_id"] = f"docker:{one.image}"
    return made | {"ports": one.port}


def _service(one: RenderedRecipe) -> dict[str, Any]:
    handover = one.recipe.handover
    probe = {"path": one.health_path, "initial_delay_seconds": int(one.recipe.ready_timeout or LONG_START)}
    if handover.max_replicas is None:
        return {"readiness_probe": probe, "replicas": handover.replicas}
    policy: dict[str, Any] = {"min_replicas": handover.replicas, "max_replicas": handover.max_replicas}
    return {"readiness_probe": probe, "replica_policy": {**policy, "target_qps_per_replica": EACH_SECOND}}


def _add_files(one: RenderedRecipe, made: dict[str, Any], told: list[str]) -> None:
    """Copy what is on this machine, and mount what is named as a volume of SkyPilot's."""
    files: dict[str, str] = {}
    volumes: dict[str, str] = {}
    for volume in (*one.volumes, *one.recipe.docker.volumes):
        place, _, rest = volume.partition(":")
        inside = rest.partition(":")[0]
        if not inside:
            continue
        if place.startswith(("/", "~")):
            files[inside] = place
        elif kube_name(place) == place:
            volumes[inside] = place
        else:
            raise refused(f"docker.volumes has {place}: a whole path, or the name of a volume of SkyPilot's")
    if files:
        made["file_mounts"] = files
        told.append(f"SkyPilot copies to each machine: {', '.join(files.values())}")
    if volumes:
        made["volumes"] = volumes
    elif not files and one.recipe.model_path:
        told.append(f"Each machine fetches the model; docker.volumes with VOLUME:{HUB_CACHE} keeps it.")


def _run(one: RenderedRecipe, command: RenderedCommand) -> str:
    nodes = one.recipe.node_count
    if nodes == 1:
        return f"exec {wrapped(_words(one, command))}\n"
    parts = registry.backend(one.recipe.backend).ranks(one.recipe)
    if one.contained_rank is None or len(parts) != nodes or any(part.role for part in parts):
        raise refused(f"its parts on several machines are not alike (strategy {one.recipe.strategy})")
    port = one.port + ABOVE if one.port + ABOVE + PORTS < 65536 else one.port - ABOVE
    addresses = (HEAD, *[OWN] * (nodes - 1))
    head = one.contained_rank(RankPlace(0, nodes, 0, addresses, port))
    other = one.contained_rank(RankPlace(1, nodes, 1, addresses, port, index_word=RANK))
    lines = [
        f'{HEAD[1:]}="$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"',
        f'{OWN[1:]}="$(echo "$SKYPILOT_NODE_IPS" | sed -n "$(({RANK} + 1))p")"',
        f'if [ "{RANK}" = 0 ]; then',
        *_exports(one, head),
        f"exec {_filled_in(wrapped(_words(one, head)))}",
        "fi",
        *_exports(one, other),
        f"exec {_filled_in(wrapped(_words(one, other)))}",
    ]
    return "\n".join(lines) + "\n"


def _exports(one: RenderedRecipe, command: RenderedCommand) -> list[str]:
    """Return lines for the variables that only this machine has."""
    alike = contained(one).env
    own = {name: value for name, value in command.env.items() if alike.get(name) != value}
    return [f"export {name}={_filled_in(shlex.quote(value))}" for name, value in own.items()]


def _filled_in(words: str) -> str:
    """Return quoted words in which the shell fills in what it knows of the machines."""
    for name in (HEAD, OWN, RANK):
        # Out of the single quotes that keep a dollar, and in again.
        words = words.replace(name, f"'\"{name}\"'")
    return words


def _words(one: RenderedRecipe, command: RenderedCommand) -> list[str]:
    program, *arguments = command.argv
    if not program:
        backend = registry.backends().get(one.recipe.backend)
        program = (backend.program if backend else None) or ""
    if not program:
        raise refused("its image starts the engine by itself: name the program in executable of the recipe")
    return [program, *arguments]
