"""The composition root: the one place that knows every service. Faces open it and close it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.bench.services import MeasuringServices
from vllm_studio_tui.services.watching.services import WatchingServices

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Target
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.domain.usage import CompletedRequest
    from vllm_studio_tui.services.benchmark import Benchmark
    from vllm_studio_tui.services.chat.chat import ChatService
    from vllm_studio_tui.services.chat.compare import Compare
    from vllm_studio_tui.services.chat.context.service import ChatContext
    from vllm_studio_tui.services.chat.library import Library
    from vllm_studio_tui.services.chat.saved_chats import Chats
    from vllm_studio_tui.services.creating.creating import Creating
    from vllm_studio_tui.services.downloads import Downloads
    from vllm_studio_tui.services.fit.service import FitService
    from vllm_studio_tui.services.gateway.gateway import Gateway
    from vllm_studio_tui.services.launching.launcher import Launcher
    from vllm_studio_tui.services.launching.parser_probe import ParserReport
    from vllm_studio_tui.services.launching.past_runs import RunHistory
    from vllm_studio_tui.services.launching.run_story import RunStory
    from vllm_studio_tui.services.launching.upkeep import Upkeep
    from vllm_studio_tui.services.models.models import Models
    from vllm_studio_tui.services.recipes.recipes import Recipes
    from vllm_studio_tui.services.recipes.starting import EngineHere
    from vllm_studio_tui.services.render.source import RenderSource
    from vllm_studio_tui.services.run_logs.service import Logs
    from vllm_studio_tui.services.runs import Runs
    from vllm_studio_tui.services.serving.api_keys import ApiKeys
    from vllm_studio_tui.services.serving.requests import Requests
    from vllm_studio_tui.services.tools.service import Tools
    from vllm_studio_tui.services.usage import Usage
    from vllm_studio_tui.services.watching.snapshot import Snapshot


class Studio(WatchingServices, MeasuringServices):
    """Every service, made when it is first needed: opening a studio costs nothing."""

    #: It is on the machine of whoever is in front of it.
    host: str | None = None

    @classmethod
    @contextlib.contextmanager
    def open_sync(cls, places: Places | None = None, flags: Mapping[str, Any] | None = None) -> Iterator[Studio]:
        """Open a studio for a face without an event loop, and close it at the end."""
        studio = cls(places or Places.of(), flags)
        try:
            yield studio
        finally:
            studio.close()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, places: Places | None = None, flags: Mapping[str, Any] | None = None) -> AsyncIterator[Studio]:
        """Open a studio for a face with an event loop, and close it at the end."""
        with cls.open_sync(places, flags) as studio:
            yield studio

    def interrupt_answers(self, signal_name: str) -> None:
        """End running answers as interrupted, because a signal ends this program."""
        if "chat" in self.__dict__:
            from vllm_studio_tui.store.messages import PROGRAM_ENDED

            self.chat.interrupt(f"{PROGRAM_ENDED} ({signal_name})")

    def close_chat(self) -> None:
        """Save what is not saved yet, or write it to recovery files. Blocking."""
        if "chat" in self.__dict__:
            self.unsaved = self.chat.close()

    def close(self) -> None:
        self.close_chat()
        if "bench" in self.__dict__:
            self.bench.close()
        if "tools" in self.__dict__:
            self.tools.close()
        if "sampler" in self.__dict__:
            self.sampler.close()
        if "db" in self.__dict__:
            self.db.close()

    @once_property
    def recipes(self) -> Recipes:
        from vllm_studio_tui.services.recipes.recipes import Recipes
        from vllm_studio_tui.store.recipes import RecipeRows

        return Recipes(RecipeRows(lambda: self.db), self.places.data / "secrets", self.places.state)

    @once_property
    def run_history(self) -> RunHistory:
        from vllm_studio_tui.services.launching.past_runs import RunHistory

        return RunHistory(self.db, self._upkeep)

    @once_property
    def launcher(self) -> Launcher:
        from vllm_studio_tui.services.launching.launcher import Launcher

        return Launcher(
            self.places,
            self.settings,
            lambda: self.recipes,
            self._upkeep,
            lambda recipe: self.recipes.number(recipe),
            lambda recipe, gpus: self.fit.problems(recipe, gpus),
        )

    @once_property
    def chat(self) -> ChatService:
        from vllm_studio_tui.services.chat.answer_watch import AnswerWatch
        from vllm_studio_tui.services.chat.chat import ChatService

        AnswerWatch(lambda: self.db, self.bus, latest=self.latest_sample)
        return ChatService(
            self.db,
            self.bus,
            folders=self.places.unsaved,
            consents=self.tools,
            open_tools=lambda choice: self.tools.open(choice.names),
            shorten=lambda session_id, target, text: self.context.compact_if_full(session_id, target, draft=text),
        )

    @once_property
    def chats(self) -> Chats:
        from vllm_studio_tui.services.chat.saved_chats import Chats

        return Chats(self.db)

    @once_property
    def tools(self) -> Tools:
        from vllm_studio_tui.services.tools.service import Tools

        return Tools(self, lambda: self.db)

    @once_property
    def context(self) -> ChatContext:
        from vllm_studio_tui.services.chat.context.service import ChatContext

        return ChatContext.of(
            self.places,
            lambda: self.db,
            lambda: self.recipes,
            self._record_request,
            lambda names: self.tools.known(names),
        )

    @once_property
    def library(self) -> Library:
        from vllm_studio_tui.services.chat.library import Library

        return Library(self.db)

    @once_property
    def compare(self) -> Compare:
        from vllm_studio_tui.services.chat.compare import make_compare

        return make_compare(self.db, self.chat, self.launcher, self.library, self._record_request)

    @once_property
    def downloads(self) -> Downloads:
        from vllm_studio_tui.services.downloads import Downloads

        return Downloads(self.places, scope=lambda: self.settings.systemd_scope)

    @once_property
    def creating(self) -> Creating:
        from vllm_studio_tui.services.creating.creating import Creating

        return Creating(self, lambda: self.gpu_report(processes=False))

    @once_property
    def runs(self) -> Runs:
        from vllm_studio_tui.services.runs import Runs

        return Runs(self.places)

    @once_property
    def logs(self) -> Logs:
        from vllm_studio_tui.services.run_logs.service import Logs

        return Logs(self.places)

    @once_property
    def gateway(self) -> Gateway:
        from vllm_studio_tui.services.gateway.gateway import Gateway

        return Gateway(self.places, self.settings, self.render_source, lambda: self.db)

    @once_property
    def usage(self) -> Usage:
        from vllm_studio_tui.services.usage import Usage

        return Usage(lambda: self.db, lambda: self.settings, self._upkeep)

    @once_property
    def keys(self) -> ApiKeys:
        from vllm_studio_tui.services.serving.api_keys import ApiKeys

        return ApiKeys(lambda: self.db)

    @once_property
    def requests(self) -> Requests:
        from vllm_studio_tui.services.serving.requests import Requests

        return Requests(self.places, lambda: self.db)

    @once_property
    def models(self) -> Models:
        from vllm_studio_tui.services.models.models import Models
        from vllm_studio_tui.store.runs import RunRows

        return Models(
            self.places,
            lambda: self.settings.models_dirs,
            self.recipe_list,
            lambda: self.runs.all(),
            lambda most: RunRows(self.db).list(limit=most),
            lambda: self.downloads.list(),
        )

    @once_property
    def fit(self) -> FitService:
        from vllm_studio_tui.services.fit.learned import learning_fit

        return learning_fit(self.places, self.gpu_report, lambda: self.runs.live(), lambda: self.db)

    @once_property
    def _upkeep(self) -> Upkeep:
        from vllm_studio_tui.services.launching.upkeep import Upkeep

        return Upkeep(self.places, lambda: self.settings, lambda: self.db)

    @property
    def storage_warning(self) -> str | None:
        """Return why the database can only be read; None where it can be written."""
        return self.db.warning

    @property
    def storage_read_only(self) -> bool:
        """Return whether nothing can be written to the database."""
        return self.db.read_only

    def recipe_states(self, recipes: Iterable[Recipe]) -> dict[str, str]:
        """Return the state of each recipe that has a live run or is an external server, by its id. Blocking."""
        from vllm_studio_tui.services.recipes.states import recipe_states

        return recipe_states(recipes, self.runs.live())

    def run_story(self, run_id: str) -> RunStory:
        """Return all that is on record of a run and of the runs of its recipe. Blocking.

        Raises:
            NotFound: There is no such run.
        """
        from vllm_studio_tui.services.launching.run_story import tell_story

        return tell_story(self.run_history, run_id)

    def first_look(self) -> Snapshot:
        """Return the runs, before the first sample of anything else. Blocking."""
        from vllm_studio_tui.services.watching.snapshot import first_look

        return first_look(self.places)

    def probe_parsers(self, name: str) -> ParserReport:
        """Ask a ready run for one tool call and one thought; return whether its parsers work. Blocking."""
        from vllm_studio_tui.services.launching.parser_probe import probe_parsers

        return probe_parsers(self.launcher.target(recipe=name), record=self._record_request)

    def measure(self, name: str | None, prompt_tokens: int, max_tokens: int) -> Benchmark:
        """Ask a ready engine one question, and keep what it showed if nothing was better before. Blocking.

        Args:
            name: A run, recipe or model; None: the ready run that was launched last.

        Raises:
            StudioError: Nothing fits, or no answer came.
        """
        from vllm_studio_tui.services.benchmark import keep_peaks, measure

        found = measure(self._ready_target(name), prompt_tokens, max_tokens, record=self._record_request)
        keep_peaks(self.db, found)
        return found

    def write_title(self, question: str, answer: str, name: str | None = None) -> str:
        """Have a ready engine write a title; the first words of the question where none can. Blocking."""
        from vllm_studio_tui.services.chat.titles import title_for

        return title_for(lambda: self._ready_target(name), question, answer, self._record_request)

    def _ready_target(self, name: str | None) -> Target:
        """Return who answers to a name; without one the run that was launched last of those that answer.

        Raises:
            StudioError: Nobody does.
        """
        from vllm_studio_tui.domain.run import ANSWERING

        if name is not None:
            return self.launcher.target(model=name)
        ready = [one for one in self.runs.live() if one.state in ANSWERING]
        return self.launcher.target(recipe=ready[-1].run_id if ready else None)

    def engines_here(self) -> list[EngineHere]:
        """Return every kind of engine, and whether it is installed on this machine. Blocking."""
        from vllm_studio_tui.services.recipes.starting import engines_here

        return engines_here(self.settings, os.environ)

    def render(self, kind: str, recipe_id: str | None = None) -> dict[str, str]:
        """Return files for another tool by their relative paths, from one recipe or all of them. Blocking.

        Raises:
            NotFound: There is no such kind or recipe.
            StudioError: These recipes cannot be written for that tool.
        """
        from vllm_studio_tui.services.render.registry import KINDS, render

        if recipe_id is not None and kind in KINDS and not KINDS[kind].of_recipes:
            self.recipes.get(recipe_id)  # a mistyped id is one here too
            recipe_id = None
        return render(kind, self.render_source(recipe_id))

    def render_source(self, recipe_id: str | None = None) -> RenderSource:
        """Return what files for other tools are made from. Blocking."""
        from vllm_studio_tui.services.render.gather import source_of

        recipes = self.recipes.all() if recipe_id is None else [self.recipes.get(recipe_id)]
        return source_of(self, recipes, self.places)

    def _record_request(self, request: CompletedRequest) -> None:
        """Keep a completion that no chat asked for. One that cannot be kept is no reason to fail."""
        from vllm_studio_tui.services.requests import record_request

        record_request(self.db, request)

    def recipe_list(self) -> list[tuple[str, dict[str, Any]]]:
        """Return recipes as they are stored, by id, without validation: enough for lists."""
        from vllm_studio_tui.store.recipes import RecipeRows

        return RecipeRows(self.db).list()
