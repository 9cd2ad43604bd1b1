"""The models on this machine."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.services.models.document import models_document


async def _models(call: Call) -> web.StreamResponse:
    studio = call.context.studio

    def found() -> dict[str, Any]:
        recipes = studio.recipes.all()
        return models_document(studio.models.list(), recipes, studio.settings.models_dirs)

    return document(await call.context.read(found))


ROUTES = (
    Route("GET", "/v1/studio/models", _models, Scope.READ, "The models on this machine, and their recipes", "Recipes"),
)
