"""`ray`: what the Ray cluster that runs use says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.ray_view import RayNode, RayView

DASH = "-"
_MARKS = {"trouble": "x", "warning": "!", "note": "-"}


def register(app: typer.Typer) -> None:
    @app.command("ray")
    def ray(
        address: str = typer.Option(
            "", "--address", metavar="URL", help="Its dashboard, as http://HOST:8265; without: `ray_address`."
        ),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """The Ray cluster that runs use: nodes, resources, what waits, Serve's replicas; what is wrong first."""
        from vllm_studio_tui.domain.ray_reading import dashboard_of
        from vllm_studio_tui.domain.ray_trouble import ray_document

        if address and not dashboard_of(address):
            raise UsageError(f"{address[:80]!r} is no address of a dashboard", advice="Write http://HOST:8265.")
        with open_studio() as studio:
            view = studio.ray.look(address or None)
        if view is None:
            raise NotFound(
                "no Ray is known here",
                advice="Give --address http://HOST:8265, the address of its dashboard, or set ray_address.",
            )
        if view.error:
            raise StudioError(f"Ray at {view.address} does not answer", cause=view.error, advice=view.advice)
        if as_json:
            emit(ray_document(view))
        else:
            _show(view)


def _show(view: RayView) -> None:
    from vllm_studio_tui.domain.ray_trouble import ray_troubles

    alive = len(view.alive)
    of = DASH if view.nodes is None else f"{alive} of {len(view.nodes)} nodes alive"
    say(f"Ray {view.version} at {view.address}: {of}")
    for one in ray_troubles(view):
        say(f"  {_MARKS[one.severity]} {one.words}")
    if view.nodes:
        say()
        table(
            ("Node", "Is", "CPU used", "GPU used", "CPU %", "Memory", "Object store", "Up"),
            [_node(node, view.at) for node in view.ordered],
            right=(2, 3, 4, 5, 6, 7),
        )
    _show_serve(view)
    _show_counts(view)


def _node(node: RayNode, now: float) -> tuple[str, ...]:
    store = node.amount("object_store_memory")
    state = f"{node.state.lower() or DASH}{', head' if node.head else ''}"
    up = numbers.duration(now - node.since) if node.alive and node.since is not None else DASH
    return (
        node.address or node.id[:12],
        state,
        _share(node, "CPU"),
        _share(node, "GPU"),
        numbers.fixed(node.cpu, 0, "%", DASH),
        numbers.memory(node.memory_used, node.memory_total, unknown=DASH) if node.memory_total else DASH,
        numbers.memory(store.used, store.total, unknown=DASH) if store.total else DASH,
        up,
    )


def _share(node: RayNode, name: str) -> str:
    from vllm_studio_tui.domain.ray_words import share_words

    return share_words(node.amount(name), DASH)


def _show_serve(view: RayView) -> None:
    deployments = [(app, one) for app in view.applications or () for one in app.deployments]
    if deployments:
        say()
        table(
            ("Application", "Deployment", "Is", "Replicas", "By state"),
            [
                (
                    app.name,
                    one.name,
                    one.status or DASH,
                    f"{one.states().get('RUNNING', 0)} of {one.target if one.target is not None else DASH}",
                    ", ".join(f"{count} {state}" for state, count in sorted(one.states().items())) or DASH,
                )
                for app, one in deployments
            ],
        )


def _show_counts(view: RayView) -> None:
    lines = [
        (name, ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none")
        for name, counts in (("actors", view.actors), ("placement groups", view.groups))
        if counts is not None
    ]
    if lines:
        say()
        for name, words in lines:
            say(f"{name}: {words}")
