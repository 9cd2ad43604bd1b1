"""A script for SLURM's `sbatch`: one engine on one node or several, which SLURM chooses, limits and ends."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.followers.slurm_marks import LIMIT_CODE, LIMIT_SECONDS, PORTS, SERVES
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused, wrapped
from vllm_studio_tui.services.render.source import (
    Files,
    RenderedCommand,
    RenderedRecipe,
    RenderSource,
    secret_variable,
)

#: Where an engine listens on its node: which address others reach that by is known to the cluster alone.
LISTENS = "0.0.0.0"  # noqa: S104
#: Options of sbatch that would make something else of it than one job that serves.
_NOT_OURS = {
    "-a": "--array", "--array": "--array", "-W": "--wait", "--wait": "--wait", "--wrap": "--wrap",
    "--test-only": "--test-only", "--parsable": "--parsable", "-J": "--job-name", "--job-name": "--job-name",
}  # fmt: skip
#: Short forms of the options that this file writes.
_SHORT = {
    "-N": "--nodes", "-c": "--cpus-per-task", "-t": "--time", "-p": "--partition",
    "-A": "--account", "-o": "--output", "-G": "--gpus",
}  # fmt: skip
#: Further options that ask for GPUs in another way than ours.
_GPUS = {"--gpus", "--gpus-per-node", "--gpus-per-task", "--gpus-per-socket", "--gres"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+\[\]-]+")


def render(source: RenderSource) -> Files:
    """Return `ID.sbatch` for each recipe.

    Raises:
        StudioError: None of them can be a job.
    """
    return files_of_each(source, "slurm", ".sbatch", script, "#!/bin/bash\n")


def script(one: RenderedRecipe, *, name: str = "", output: str = "", port: int | None = None) -> tuple[str, list[str]]:
    """Return the script of a recipe without its first lines, and what its head tells.

    Args:
        name: Of the job; empty: the recipe's id.
        output: The file of its log, as `sbatch` writes patterns; empty: `ID-JOB.log` where it is submitted.
        port: The first one that is tried on the node; None: the recipe's.

    Raises:
        StudioError: It cannot be a job of SLURM.
    """
    command = _command(one)
    secrets = {key: secret_variable(one, key, reference) for key, reference in command.env_refs.items()}
    lines = _options(one, secrets.values(), name or one.recipe.id, output or f"{one.recipe.id}-%j.log")
    lines += ["", *_environment(command, secrets)]
    if one.recipe.handover.setup:
        lines += ["", *one.recipe.handover.setup]
    if one.recipe.cwd:
        lines.append(f"cd {_path(one.recipe.cwd)} || exit 1")
    lines += ["", *_where(one, command, port or one.port), "", *_rank(command, one.port), "", *_step(one.recipe)]
    return "\n".join(lines) + "\n", [*not_said(one.recipe, "nodes", "strategy", "handover"), *_notes(one, secrets)]


def _command(one: RenderedRecipe) -> RenderedCommand:
    if one.problem:
        raise refused(one.problem)
    if one.command is None:
        raise refused("it is run by somebody else")
    if one.recipe.runtime == "docker":
        raise refused(
            "its runtime is docker, which nodes of SLURM do not have: take runtime native, with an `executable` that "
            "enters the image (apptainer exec --nv IMAGE ..), or with `module load` in handover.setup"
        )
    if one.recipe.node_count > 1:
        raise refused("its engine on several nodes of SLURM is not made yet")
    return one.command


# --- what SLURM is told -----------------------------------------------------------------------------------


def _options(one: RenderedRecipe, secrets: Iterable[str], name: str, output: str) -> list[str]:
    recipe, told = one.recipe, one.recipe.handover
    given = list(_given(told.options))
    gpus = gpus_a_node(recipe)
    kind = f"{told.accelerator}:" if told.accelerator else ""
    ours: dict[str, str | None] = {
        "--job-name": name,
        "--nodes": str(recipe.node_count),
        "--ntasks-per-node": "1",
        "--gpus-per-node": f"{kind}{gpus}" if gpus and not _GPUS & set(given) else None,
        "--cpus-per-task": str(told.cpus) if told.cpus else None,
        "--mem": told.memory,
        "--time": told.time_limit,
        "--partition": told.partition,
        "--account": told.account,
        "--output": output,
        # Whether it is tried again is for the recipe's `restart` to say.
        "--no-requeue": "" if "--requeue" not in given else None,
        # Before the time limit the script is told, so that the engine ends in order.
        "--signal": f"B:USR1@{LIMIT_SECONDS}",
        "--export": ",".join(("ALL", *sorted(set(secrets)))),
    }
    lines = [
        f"#SBATCH {option}{'=' if value else ''}{_word(value) if value else ''}"
        for option, value in ours.items()
        if value is not None and option not in given
    ]
    return [*lines, *(f"#SBATCH {_word(word)}" for word in _joined(told.options))]


def _given(options: Sequence[str]) -> Iterable[str]:
    """Yield the long names of the further options of a recipe.

    Raises:
        StudioError: One would make something else of it than a job that serves.
    """
    for word in options:
        if not word.startswith("-"):
            continue
        name = word.split("=", 1)[0]
        short = name[:2] if not name.startswith("--") else name
        if short in _NOT_OURS:
            raise refused(f"handover.options has {word}: with {_NOT_OURS[short]} it is not one job that is found again")
        yield _SHORT.get(short, short)


def _joined(options: Sequence[str]) -> list[str]:
    """Return a line for each option: a value that stands alone is put to its option."""
    found: list[str] = []
    for word in options:
        if word.startswith("-") or not found:
            found.append(word)
        elif found[-1].startswith("--"):
            found[-1] += f"={word}"
        else:
            found[-1] += word
    return found


def _word(word: str) -> str:
    """Return a word as a line of #SBATCH has it.

    Raises:
        StudioError: It cannot be written there.
    """
    if _PLAIN.fullmatch(word):
        return word
    if "\n" in word or '"' in word or "\\" in word:
        raise refused(f"{word!r} cannot be written into a line of #SBATCH")
    return f'"{word}"'


def gpus_a_node(recipe: Recipe) -> int:
    """Return how many GPUs a node must have for a recipe; 0: its engine takes none."""
    if recipe.gpus and recipe.gpus != ("auto",):
        return len(recipe.gpus)
    backend = registry.find(recipe.backend)
    device = recipe.extra_args.get("device") or recipe.env_vars.get("VLLM_TARGET_DEVICE")
    on_cpu = str(device or "").split(":")[0].lower() == "cpu"
    asked = bool(recipe.gpus or recipe.handover.accelerator)
    if on_cpu or not (asked or (backend is not None and backend.takes_first_gpus)):
        return 0
    return -(-recipe.gpu_count // recipe.node_count)


# --- what runs there --------------------------------------------------------------------------------------


def _environment(command: RenderedCommand, secrets: dict[str, str]) -> list[str]:
    """Return the lines that export the engine's variables; which GPUs it sees is SLURM's business."""
    lines = [
        f"export {name}={shlex.quote(value)}"
        for name, value in command.env.items()
        if not name.endswith("_VISIBLE_DEVICES")
    ]
    return lines + [f'export {key}="${{{name}:?the secret of {key}}}"' for key, name in secrets.items()]


def _path(place: str) -> str:
    if place in ("~", "~/"):
        return "~"
    return f"~/{shlex.quote(place[2:])}" if place.startswith("~/") else shlex.quote(place)


def _where(one: RenderedRecipe, command: RenderedCommand, first: int) -> list[str]:
    """Return the lines that find out where it serves, and tell that in the log and in the job's comment."""
    comment = next(
        (word.split("=", 1)[1] for word in _joined(one.recipe.handover.options) if word.startswith("--comment=")), ""
    )
    chosen = _port_word(command.argv, one.port) is not None
    lines = ['head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)']
    lines.append(f"port={first if chosen else one.port}")
    if chosen:
        lines += [
            "# Another job of this node may have the port: the next one that nobody listens on is taken.",
            f"last=$((port + {PORTS}))",
            'taken() { (exec 3<>"/dev/tcp/$1/$port") 2>/dev/null; }',
            'while { taken 127.0.0.1 || taken "$head"; } && [ "$port" -lt "$last" ]; do port=$((port + 1)); done',
        ]
    told = shlex.quote(f"{comment} ") if comment else ""
    return [
        *lines,
        f'echo "{SERVES}$head:$port"',
        f'scontrol update JobId="$SLURM_JOB_ID" Comment={told}"{SERVES}$head:$port" || true',
    ]


def _rank(command: RenderedCommand, port: int) -> list[str]:
    """Return the function that becomes the engine on a node."""
    return ["rank() {", "  " + f"exec {_shell_words(command.argv, port)}".replace("\n", "\n  "), "}"]


def _shell_words(argv: Sequence[str], wanted: int) -> str:
    """Return a command for a shell, with the node's addresses and the port that was found in place of the recipe's."""
    words = list(argv)
    port = _port_word(words, wanted)
    host = next((at + 1 for at, word in enumerate(words[:-1]) if word == "--host"), None)
    if host is not None:
        words[host] = LISTENS
    if port is None:
        return wrapped(words)
    # Quoted words stand for themselves: the one that the shell is to fill in is put in after the quoting.
    before, after = wrapped(words[:port]), wrapped(words[port + 1 :])
    return f'{before} "$port"' + (f" \\\n  {after}" if after else "")


def _port_word(argv: Sequence[str], port: int) -> int | None:
    """Return where in a command its port stands; None where it is not a word of its own."""
    return next((at for at, word in enumerate(argv) if at and argv[at - 1] == "--port" and word == str(port)), None)


def _step(recipe: Recipe) -> list[str]:
    cpus = f"--cpus-per-task={recipe.handover.cpus} " if recipe.handover.cpus else ""
    several = "--label " if recipe.node_count > 1 else ""
    return [
        # The function goes along as text: the script itself lies on the first node alone.
        f"srun --ntasks={recipe.node_count} --ntasks-per-node=1 {cpus}{several}--kill-on-bad-exit=1 --wait=30 \\",
        '  bash -c "$(declare -p head port); $(declare -f rank); rank" &',
        "step=$!",
        "limit=",
        "# SLURM tells the engine itself when the job is cancelled; the script only waits until it has ended.",
        "trap : TERM",
        'trap \'limit=1; echo "vllm-studio: the time limit is near: the engine is told to end";',
        '  scancel --signal=TERM "$SLURM_JOB_ID"\' USR1',
        'wait "$step"; code=$?',
        'while kill -0 "$step" 2>/dev/null; do wait "$step"; code=$?; done',
        f'[ -z "$limit" ] || code={LIMIT_CODE}',
        'exit "$code"',
    ]


def _notes(one: RenderedRecipe, secrets: dict[str, str]) -> list[str]:
    found = []
    for key, name in secrets.items():
        reference = one.command.env_refs[key] if one.command is not None else ""
        where = "" if reference.startswith("env:") else f": the first line of {reference.removeprefix('file:')}"
        found.append(f"{one.recipe.id} needs the variable {name} where sbatch is called{where}")
    if not one.recipe.api_key:
        found.append("It has no api_key: everybody who reaches the node can use it. Set one in the recipe.")
    if one.local_model:
        found.append("The path of the model must be there on the nodes too.")
    if one.command is not None and _port_word(one.command.argv, one.port) is None:
        found.append(f"Its command has no --port: the port is {one.port}, whoever else has it on the node.")
    return found
