"""The commands of an engine as a script of SLURM has them: what only the nodes know stands there as variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.ranks import PORTS, RankPlace
from vllm_studio_tui.services.render.lines import refused
from vllm_studio_tui.services.render.source import RenderedCommand, RenderedRecipe

#: Where an engine listens on its node: which address others reach that by is known to the cluster alone.
LISTENS = "0.0.0.0"  # noqa: S104
#: Words that stand for what the script fills in, until it is written.
_HEAD, _OWN, _INDEX = "VLLM_STUDIO_HEAD_", "VLLM_STUDIO_OWN_", "9990009991"
#: After the ports where ranks meet, the one where the engine listens.
_LISTENS_AT = 9


@dataclass(frozen=True, slots=True)
class Ranks:
    """The commands of all ranks, with words that stand for what the nodes know.

    Attributes:
        first: Of the rank that answers.
        others: Of all others; None: there is one.
        fill: What a shell has in place of those words.
        chosen: The port can be chosen on the node: the command names it.
    """

    first: RenderedCommand
    others: RenderedCommand | None
    fill: Mapping[str, str]
    chosen: bool


def ranks_of(one: RenderedRecipe) -> Ranks:
    """Return the commands of a recipe's ranks.

    Raises:
        StudioError: It makes none, or cannot be spread over nodes like this.
    """
    if one.command is None or one.command_at is None:
        raise refused("it is run by somebody else")
    ports = _unused_ports(one.command)
    port = ports + _LISTENS_AT
    fill = {str(port): '"$port"'}
    places: list[RankPlace | None] = [None]
    nodes = one.recipe.node_count
    if nodes > 1:
        _alike(one)
        addresses = (_HEAD, *[_OWN] * (nodes - 1))
        places = [
            RankPlace(index, nodes, index, addresses, ports, index_word=_INDEX if index else "")
            for index in (0, 1, nodes - 1)
        ]
        fill |= {_HEAD: '"$head"', _OWN: '"$SLURMD_NODENAME"', _INDEX: '"$SLURM_NODEID"'}
        fill |= {str(ports + at): f'"$((meet + {at}))"' if at else '"$meet"' for at in range(PORTS)}
    try:
        made = [one.command_at(LISTENS, port, place) for place in places]
    except StudioError as error:
        raise refused(" ".join(f"{error.title}: {error.cause}".split())) from None
    if len(made) > 1 and made[1] != made[2]:
        raise refused("its parts on several nodes are not alike")
    chosen = any(str(port) in word for word in (*made[0].argv, *made[0].env.values()))
    return Ranks(made[0], made[1] if len(made) > 1 else None, fill, chosen)


def _alike(one: RenderedRecipe) -> None:
    """Refuse what is no rank a node, all alike but the first."""
    recipe = one.recipe
    try:
        parts = registry.backend(recipe.backend).ranks(recipe)
    except StudioError as error:
        raise refused(" ".join(str(error).split())) from None
    if len(parts) == 1:
        raise refused("Ray places its ranks, and the job starts no Ray: leave them to `strategy` alone")
    if len(parts) != recipe.node_count or any(part.role for part in parts):
        raise refused(f"its parts on several nodes are not alike (strategy {recipe.strategy}): see `nodes`, over ssh")


def _unused_ports(command: RenderedCommand) -> int:
    """Return the first of numbers that stand for ports, and for nothing else in the command."""
    text = " ".join((*command.argv, *command.env.values()))
    return next(first for first in range(60_000, 65_000, 10) if str(first)[:4] not in text)


def exports(ranks: Ranks, secrets: Mapping[str, str]) -> list[str]:
    """Return the lines that export what all ranks have in their environment.

    Args:
        secrets: The variables that secrets come in by, by what the engine calls them.
    """
    lines = _exported(_common(ranks), ranks.fill)
    return lines + [f'export {key}="${{{name}:?the secret of {key}}}"' for key, name in secrets.items()]


def _common(ranks: Ranks) -> dict[str, str]:
    others = ranks.first if ranks.others is None else ranks.others
    return {name: value for name, value in ranks.first.env.items() if others.env.get(name) == value}


def _exported(values: Mapping[str, str], fill: Mapping[str, str]) -> list[str]:
    """Return the lines that export variables; which GPUs an engine sees is SLURM's business."""
    return [
        f"export {name}={_filled(value, fill)}"
        for name, value in values.items()
        if not name.endswith("_VISIBLE_DEVICES")
    ]


def rank_function(ranks: Ranks) -> list[str]:
    """Return the function that becomes the engine on a node: it needs `head`, `port` and, of several ranks, `meet`."""
    if ranks.others is None:
        return ["rank() {", *_started(ranks, ranks.first, "  "), "}"]
    return [
        "rank() {",
        '  if [ "$SLURM_NODEID" = 0 ]; then',
        *_started(ranks, ranks.first, "    "),
        "  fi",
        *_started(ranks, ranks.others, "  "),
        "}",
    ]


def _started(ranks: Ranks, command: RenderedCommand, indent: str) -> list[str]:
    """Return the lines that become one rank: a line for each flag, after what it has in its environment alone."""
    common = _common(ranks)
    own = {name: value for name, value in command.env.items() if name not in common}
    text = "exec"
    for word in command.argv:
        between = f" \\\n{indent}  " if text != "exec" and word.startswith("-") else " "
        text += between + _filled(word, ranks.fill)
    return [*(f"{indent}{line}" for line in _exported(own, ranks.fill)), *f"{indent}{text}".split("\n")]


def _filled(word: str, fill: Mapping[str, str]) -> str:
    """Return a word for a shell that puts in its variables, and takes all else as it is."""
    pieces = re.split(f"({'|'.join(map(re.escape, fill))})", word)
    return "".join(fill.get(piece) or shlex.quote(piece) for piece in pieces if piece) or "''"
