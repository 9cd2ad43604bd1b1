"""Recipes: list, make, change, delete, import, and the command of a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound, StoreError, StudioError, UsageError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import body_of, document, flag
from vllm_studio_tui.http.request_body import read_body
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.services.recipes.recipes import Broken
from vllm_studio_tui.services.recipes.states import recipe_document

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import FieldNote, Recipe
    from vllm_studio_tui.services.recipes.importing import ImportReport

#: The original's word for each state of a run.
STATUS = {
    State.STARTING: "starting",
    State.LOADING: "starting",
    State.BACKOFF: "starting",
    State.READY: "running",
    State.UNHEALTHY: "running",
    State.STOPPING: "stopped",
    State.FAILED: "error",
    State.EXITED: "stopped",
}
#: What an answer has of a recipe beside its fields; sent back, it is no field either.
_TOLD = ("status", "state", "revision")
MAX_IMPORT = 64 * 1024 * 1024


def told(recipe: Recipe, state: str | None) -> dict[str, Any]:
    """Return a recipe with its state, in the original's word and in ours."""
    status = STATUS.get(State(state)) if state in tuple(State) else None
    return {
        **recipe_document(recipe, state),
        "status": status or ("running" if state == "ready" else "stopped"),
    }


def _tag(number: int | None) -> dict[str, str]:
    return {} if number is None else {"ETag": f'"{number}"'}


async def _list(call: Call) -> web.StreamResponse:
    """List recipes, each with its state; one that cannot be read is told of with its error."""
    studio = call.context.studio
    search = call.request.query.get("search", "")

    def found() -> list[dict[str, Any]]:
        kept = studio.recipes.search(search) if search else studio.recipes.all_stored()
        states = studio.recipe_states([one for one in kept if not isinstance(one, Broken)])
        return [
            {"id": one.id, "name": one.id, "status": "error", "state": "unreadable", "error": one.error.cause}
            if isinstance(one, Broken)
            else told(one, states.get(one.id))
            for one in kept
        ]

    return document(await call.context.read(found))


async def _get(call: Call) -> web.StreamResponse:
    studio, recipe_id = call.context.studio, call.request.match_info["id"]

    def found() -> dict[str, Any]:
        recipe = studio.recipes.get(recipe_id)
        state = studio.recipe_states([recipe]).get(recipe.id)
        return {**told(recipe, state), "revision": studio.recipes.number(recipe)}

    data = await call.context.read(found)
    return document(data, headers=_tag(data["revision"]))


async def _post(call: Call) -> web.StreamResponse:
    data = _fields(await body_of(call))
    studio, upsert = call.context.studio, flag(call, "upsert")

    def make() -> tuple[Recipe, list[FieldNote], int | None, bool]:
        recipe, notes = studio.recipes.read(data)
        try:
            made, new = studio.recipes.create(recipe, reason="API"), True
        except UsageError as error:
            if not upsert:
                raise Refusal(409, "recipe_exists", error.title, advice=error.advice) from None
            made, new = studio.recipes.save(recipe, reason="API"), False
        return made, notes, studio.recipes.number(made), new

    return _saved(call, *await call.context.read(make))


async def _put(call: Call) -> web.StreamResponse:
    """Replace a recipe; with `If-Match` only in the form that the client knows."""
    data = _fields(await body_of(call))
    studio, recipe_id = call.context.studio, call.request.match_info["id"]
    upsert, match = flag(call, "upsert"), call.request.headers.get("If-Match")
    if data.get("id", recipe_id) != recipe_id:
        raise Refusal(400, "id_differs", "the id in the body is not the one in the path", param="id")

    def save() -> tuple[Recipe, list[FieldNote], int | None, bool]:
        try:
            before = studio.recipes.get(recipe_id)
        except NotFound:
            if not upsert or match is not None:
                raise
            before = None
        _check_match(match, studio.recipes.number(before) if before is not None else None)
        recipe, notes = studio.recipes.read({**data, "id": recipe_id})
        if before is None:
            made = studio.recipes.create(recipe, reason="API")
        else:
            try:
                made = studio.recipes.save(recipe, reason="API", before=before)
            except UsageError as error:
                raise Refusal(409, "recipe_changed", error.title, advice=error.advice) from None
        return made, notes, studio.recipes.number(made), before is None

    return _saved(call, *await call.context.read(save))


def _check_match(match: str | None, number: int | None) -> None:
    """Raise where a client's form of a recipe is not the latest."""
    if match is None or match.strip() == "*":
        return
    if number is None or f'"{number}"' not in [one.strip().removeprefix("W/") for one in match.split(",")]:
        title = "the recipe was changed meanwhile"
        raise Refusal(412, "recipe_changed", title, cause=f"Its form is {number}.", advice="Read it again.")


def _saved(call: Call, recipe: Recipe, notes: list[FieldNote], number: int | None, new: bool) -> web.Response:
    call.context.events.look()
    headers = _tag(number)
    if new:
        headers["Location"] = f"/recipes/{recipe.id}"
    said = [{"field": one.field, "action": one.action, "why": one.why} for one in notes if one.why]
    answer = {"success": True, "id": recipe.id, "revision": number, "notes": said}
    return document(answer, 201 if new else 200, headers)


async def _delete(call: Call) -> web.StreamResponse:
    studio, recipe_id = call.context.studio, call.request.match_info["id"]
    match = call.request.headers.get("If-Match")

    def delete() -> None:
        if match is not None:
            _check_match(match, studio.recipes.number(studio.recipes.get(recipe_id)))
        studio.recipes.delete(recipe_id)

    await call.context.read(delete)
    call.context.events.look()
    return document({"success": True, "id": recipe_id})


async def _import(call: Call) -> web.StreamResponse:
    """Take recipes in: JSON, YAML or a pasted command; each entry and each changed field is reported."""
    studio = call.context.studio
    raw = await read_body(call.request, min(MAX_IMPORT, call.context.settings.max_body))
    dry_run, replace, suggested = flag(call, "dry_run"), flag(call, "replace"), flag(call, "suggested")

    def take_in() -> ImportReport:
        try:
            return studio.recipes.import_(raw, "the request", dry_run=dry_run, replace=replace, suggested=suggested)
        except StoreError:
            raise
        except StudioError as error:
            raise Refusal(400, "unreadable", error.title, cause=error.cause, advice=error.advice) from None

    report = await call.context.read(take_in)
    call.context.events.look()
    answer = {"success": not report.failed, "count": len(report.imported), **report.to_json()}
    return document(answer, 200 if report.imported or report.existing or not report.failed else 422)


async def _command(call: Call) -> web.StreamResponse:
    studio, recipe_id = call.context.studio, call.request.match_info["id"]
    preview = await call.context.read(
        lambda: studio.launcher.preview(studio.recipes.get(recipe_id), missing_ok=True).to_json()
    )
    return document({"id": recipe_id, "command": preview["shell"], **preview})


def _fields(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe that was sent, without what answers say of it beside these."""
    return {name: value for name, value in data.items() if name not in _TOLD}


_RECIPE = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "name": {"type": "string"}, "model_path": {"type": "string"}},
    "additionalProperties": True,
}
_UPSERT = {"upsert": "Make it where there is none, replace it where there is one: as the original did."}
ROUTES = (
    Route(
        "GET", "/recipes", _list, Scope.READ, "All recipes, with the state of each", "Recipes",
        query={"search": "Words to look for."}, answer={"type": "array", "items": _RECIPE},
    ),
    Route("POST", "/recipes", _post, Scope.MANAGE, "A new recipe", "Recipes", query=_UPSERT, body=_RECIPE),
    Route(
        "POST", "/recipes/import", _import, Scope.MANAGE, "Take recipes in from JSON, YAML or a command", "Recipes",
        query={
            "dry_run": "Only say what would come of it.",
            "replace": "One that is there with other content gives way; without it both are kept.",
            "suggested": "Take what each model is known to need.",
        },
        body={"description": "One recipe, a list of them, YAML, or the command of an engine."},
    ),
    Route("GET", "/recipes/{id}", _get, Scope.READ, "One recipe", "Recipes", answer=_RECIPE),
    Route("PUT", "/recipes/{id}", _put, Scope.MANAGE, "Replace a recipe", "Recipes", query=_UPSERT, body=_RECIPE),
    Route("DELETE", "/recipes/{id}", _delete, Scope.MANAGE, "Delete a recipe; its runs stay", "Recipes"),
    Route("GET", "/recipes/{id}/command", _command, Scope.READ, "The command of a launch, secrets masked", "Recipes"),
)  # fmt: skip
