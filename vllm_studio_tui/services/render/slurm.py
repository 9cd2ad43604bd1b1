"""A script for SLURM's `sbatch`: one engine on one node or several, which SLURM chooses, limits and ends."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.ranks import PORTS as RANK_PORTS
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.followers.slurm_marks import LIMIT_CODE, LIMIT_SECONDS, PORTS, SERVES
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused
from vllm_studio_tui.services.render.slurm_ranks import Ranks, exports, rank_function, ranks_of
from vllm_studio_tui.services.render.source import (
    Files,
    RenderedRecipe,
    RenderSource,
    secret_variable,
)

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
    _refuse(one)
    ranks = ranks_of(one)
    refs = ranks.first.env_refs
    secrets = {key: secret_variable(one, key, reference) for key, reference in refs.items()}
    lines = _options(one, secrets.values(), name or one.recipe.id, output or f"{one.recipe.id}-%j.log")
    if one.recipe.handover.setup:
        lines += ["", *one.recipe.handover.setup]
    if one.recipe.cwd:
        lines.append(f"cd {_path(one.recipe.cwd)} || exit 1")
    first = (port or one.port) if ranks.chosen else one.port
    lines += [
        "",
        *_where(one, ranks, first),
        "",
        *exports(ranks, secrets),
        "",
        *rank_function(ranks),
        "",
        *_step(one.recipe),
    ]
    notes = [*not_said(one.recipe, "nodes", "strategy", "handover"), *_notes(one, secrets)]
    if not ranks.chosen:
        notes.append(f"Its command names no port: it is {one.port}, whoever else has it on the node.")
    return "\n".join(lines) + "\n", notes


def _refuse(one: RenderedRecipe) -> None:
    """Refuse what cannot be a job, whatever its command is."""
    if one.problem:
        raise refused(one.problem)
    if one.recipe.runtime == "docker":
        raise refused(
            "its runtime is docker, which nodes of SLURM do not have: take runtime native, with an `executable` that "
            "enters the image (apptainer exec --nv IMAGE ..), or with `module load` in handover.setup"
        )


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


def _path(place: str) -> str:
    if place in ("~", "~/"):
        return "~"
    return f"~/{shlex.quote(place[2:])}" if place.startswith("~/") else shlex.quote(place)


def _where(one: RenderedRecipe, ranks: Ranks, first: int) -> list[str]:
    """Return the lines that find out where it serves, and tell that in the log and in the job's comment."""
    comment = next(
        (word.split("=", 1)[1] for word in _joined(one.recipe.handover.options) if word.startswith("--comment=")), ""
    )
    several = ranks.others is not None
    lines = ['head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)', f"port={first}"]
    if several:
        lines.append("meet=$((port + 1))")
    if ranks.chosen:
        meet = "; meet=$((port + 1))" if several else ""
        more = RANK_PORTS if several else 0
        lines += [
            "# Other jobs of this node may have a port: the next one is taken that nobody listens on.",
            f"last=$((port + {PORTS}))",
            "taken() {",
            "  local at",
            f'  for at in $(seq "$port" $((port + {more}))); do',
            '    { (exec 3<>"/dev/tcp/127.0.0.1/$at") || (exec 3<>"/dev/tcp/$head/$at"); } 2>/dev/null && return',
            "  done",
            "  return 1",
            "}",
            f'while [ "$port" -lt "$last" ] && taken; do port=$((port + 1)){meet}; done',
        ]
    told = shlex.quote(f"{comment} ") if comment else ""
    return [
        *lines,
        f'echo "{SERVES}$head:$port"',
        f'scontrol update JobId="$SLURM_JOB_ID" Comment={told}"{SERVES}$head:$port" || true',
    ]


def _step(recipe: Recipe) -> list[str]:
    cpus = f"--cpus-per-task={recipe.handover.cpus} " if recipe.handover.cpus else ""
    several = "--label " if recipe.node_count > 1 else ""
    names = "head port meet" if several else "head port"
    return [
        # The function goes along as text: the script itself lies on the first node alone.
        f"srun --ntasks={recipe.node_count} --ntasks-per-node=1 {cpus}{several}--kill-on-bad-exit=1 --wait=30 \\",
        f'  bash -c "$(declare -p {names}); $(declare -f rank); rank" &',
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
    return found
