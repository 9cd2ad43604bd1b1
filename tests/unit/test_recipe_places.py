"""Where a recipe runs, chosen for one launch."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from vllm_studio_tui.cli.runs import WHERE
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_places import PLACES, STRATEGIES, place_recipe, place_words
from vllm_studio_tui.http.controller.runs import _PLACE
from vllm_studio_tui.services.recipes.form_fields import form_fields, is_shown


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"id": "r", "name": "r", "backend": "vllm", "model_path": "org/m", **fields})


def test_without_a_place_a_recipe_is_as_it_is_kept() -> None:
    kept = recipe(nodes="a b", strategy="tp")
    assert place_recipe(kept) is kept


@pytest.mark.parametrize("on", PLACES[1:])
def test_a_recipe_is_handed_over_once_with_what_it_says_for_that_system(on: str) -> None:
    kept = recipe(handover={"partition": "gpu", "nodes": 2}, strategy="single")
    placed = place_recipe(kept, on=on)
    assert (placed.handover.to, placed.handover.partition, placed.nodes) == (on, "gpu", ())
    assert kept.handover.to == "none"


def test_here_takes_a_recipe_back_to_this_machine() -> None:
    for kept in (recipe(nodes="a,b", strategy="tp"), recipe(handover={"to": "slurm", "nodes": 2}, strategy="tp")):
        placed = place_recipe(kept, on="here")
        assert (placed.nodes, placed.handover.to, placed.strategy, placed.elsewhere) == ((), "none", "single", False)


def test_hosts_take_the_strategy_that_is_given_or_the_recipe_s() -> None:
    assert place_recipe(recipe(), nodes="a,b", strategy="tp_pp").strategy == "tp_pp"
    assert place_recipe(recipe(nodes="a,b", strategy="dp"), nodes="c,d,e").strategy == "dp"
    assert place_recipe(recipe(nodes="a,b", strategy="dp"), nodes="c").strategy == "single"
    placed = place_recipe(recipe(handover={"to": "slurm"}), nodes="user@a:2222")
    assert (placed.nodes, placed.handover.to) == (("user@a:2222",), "none")


def test_a_strategy_alone_changes_how_the_recipe_s_hosts_share_it() -> None:
    assert place_recipe(recipe(nodes="a,b", strategy="tp"), strategy="dp").strategy == "dp"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"on": "slurm", "nodes": "a"}, "exclude each other"),
        ({"on": "nomad"}, "nothing that runs recipes"),
        ({"nodes": "a,b"}, "several nodes need a strategy"),
        ({"nodes": "a", "strategy": "tp"}, "strategy tp needs several nodes"),
        ({"strategy": "all"}, "--strategy all is not known"),
        ({"nodes": "-oProxyCommand=x"}, "not a host as ssh takes it"),
        ({"nodes": "a,a", "strategy": "tp"}, "a host is named twice"),
    ],
)
def test_what_cannot_be_is_refused_in_words(asked: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        place_recipe(recipe(), **asked)
    assert words in f"{caught.value.title} {caught.value.cause} {caught.value.advice}"


def test_the_faces_name_every_place_and_strategy() -> None:
    from vllm_studio_tui.cli.app import build

    told = CliRunner().invoke(build(), ["launch", "--help"], env={"COLUMNS": "200"}).output
    for one in (*PLACES, *STRATEGIES[1:]):
        assert one in told
        assert one in " ".join(_PLACE.values())
    assert all(one in WHERE for one in PLACES)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"nodes": "a"}, "over ssh on a"),
        ({"nodes": "a,b", "strategy": "tp_pp"}, "over ssh on a, b (tp_pp)"),
        ({"handover": {"to": "slurm"}}, "handed over to SLURM"),
        ({"handover": {"to": "kubernetes", "nodes": 2, "replicas": 3}, "strategy": "tp"},
         "handed over to Kubernetes, 2 machines a copy (tp), 3 copies"),
        ({"handover": {"to": "ray-serve", "max_replicas": 4}}, "handed over to Ray Serve, 1 to 4 copies"),
    ],
)  # fmt: skip
def test_where_a_recipe_runs_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    assert place_words(recipe(**fields)) == words


def test_the_form_asks_how_machines_share_it_only_where_there_are_several() -> None:
    strategy = next(one for one in form_fields() if one.name == "strategy")
    base = {"backend": "vllm"}
    assert not is_shown(strategy, base)
    assert not is_shown(strategy, {**base, "nodes": "a"})
    assert is_shown(strategy, {**base, "nodes": "a, b"})
    assert is_shown(strategy, {**base, "handover.to": "slurm", "handover.nodes": "2"})
