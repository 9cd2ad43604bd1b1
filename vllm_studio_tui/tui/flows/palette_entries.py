"""What the palette offers: runs, actions, screens, recipes, chats, settings and themes, with their state and key."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.tui.flows import replaying
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.paint.downloads import name_of, state_word
from vllm_studio_tui.tui.screens.registry import SCREENS
from vllm_studio_tui.tui.sheets.palette_ranking import Entry

if TYPE_CHECKING:
    from textual.widget import Widget

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.shell import Shell

#: Scopes that are part of another place, or of every one: their actions are not looked for by name elsewhere.
INNER = frozenset({"app", "list", "table", "prompt", "form", "chats", "run"})
#: Chats that are listed for what was typed, and those that are asked for: words may stand in any order.
CHATS, ASKED = 30, 200

_RUN_ENTER = {
    "fix": "show the diff", "talk": "open the chat", "stop": "stop it", "url": "copy it", "page": "open its page",
    "log": "open its log", "probe": "test them", "dismiss": "dismiss it",
    "bench": "open the set-up",
}  # fmt: skip


class PaletteEntries:
    """Makes the entries for what there is at this moment."""

    def __init__(self, shell: Shell, screen: Widget) -> None:
        self._shell = shell
        self._screen = screen
        self._runs: Sequence[RunView] = shell.snapshot.runs if shell.snapshot is not None else ()
        self._active = shell.active_actions()

    def at_once(self) -> list[Entry]:
        """Return all that is known without reading anything."""
        return [
            *replaying.entries(self._shell),
            *self._here(),
            *self._of_runs(),
            *self._of_pulls(),
            *self._of_bench(),
            *self._everywhere(),
            *self._screens(),
            *self._elsewhere(),
        ]

    # --- actions ----------------------------------------------------------------------------------------

    def _here(self) -> list[Entry]:
        """What can be done on the screen in front, with what is under its cursor."""
        group = f"ACTIONS ON {self._shell.place_name.upper()}"
        active = {action.id for action, _ in self._active}
        scopes = {action.scope for action, _ in self._active} - {"app", "list", "prompt"}
        return [
            self._of_action(action, group=group)
            for action in actions.ACTIONS
            if action.palette and action.scope in scopes and (action.id in active or self._possible(action))
        ]

    def _possible(self, action: Action) -> bool:
        """Whether an action without a key can be done now."""
        owner = self._screen.app if action.scope == "app" else self._screen
        scope = getattr(owner, "SCOPE", "app")
        return not action.keys and scope == action.scope and bool(owner.check_action(action.method, ()))

    def _everywhere(self) -> list[Entry]:
        screens = {screen.name for screen in SCREENS}
        words = {
            "quit-studio": "quit exit leave", "doctor": "check health problems", "settings": "options configuration",
            "new": "run launch starter import model", "theme": "colours dark light", "mouse": "select text",
        }  # fmt: skip
        return [
            self._of_action(action, group="ACTIONS EVERYWHERE", words=words.get(action.name, ""))
            for action in actions.of("app")
            if action.palette and action.name not in screens and self._allowed(action)
            if action.keys or self._possible(action)
        ]

    def _elsewhere(self) -> list[Entry]:
        """What other screens can do: found by words alone."""
        here = {action.scope for action, _ in self._active}
        titles = {scope: screen for screen in SCREENS for scope in screen.scopes}
        return [
            self._of_action(
                action, note=f"on {titles[action.scope].title}", enter=f"go to {titles[action.scope].title}"
            )
            for action in actions.ACTIONS
            if action.palette and action.scope in titles and action.scope not in here | INNER and self._allowed(action)
        ]

    def _allowed(self, action: Action) -> bool:
        return not (action.writes and self._shell.read_only)

    def _of_action(
        self, action: Action, *, group: str = "", note: str = "", words: str = "", enter: str = "do it"
    ) -> Entry:
        label, words = action.help[:1].lower() + action.help[1:], f"{action.label} {words}"
        return Entry(f"action:{action.id}", label, note, self._key(action.id), group, "do", words, enter=enter)

    def _key(self, action_id: str) -> str:
        return actions.keys_text(self._shell.keys_of(action_id), 1) if action_id in actions.BY_ID else ""

    def _screens(self) -> list[Entry]:
        return [
            Entry(f"action:app.{screen.name}", f"{screen.key} {screen.title}", screen.help.partition(": ")[2],
                  screen.key, "SCREENS", "open", "screen", enter="go there")
            for screen in SCREENS
        ]  # fmt: skip

    # --- runs and recipes -------------------------------------------------------------------------------

    def _of_runs(self) -> Iterable[Entry]:
        for run in self._runs:
            yield from self._of_run(run)

    def _of_run(self, run: RunView) -> Iterable[Entry]:
        """What can be done with a run as it is now."""
        status, thing, writes = run.status, f"recipe:{run.recipe_id}", not self._shell.read_only
        state = str(run.state)
        if run.state is State.FAILED and status.title:
            state = status.title

        def entry(what: str, label: str, key: str, *, note: str = state, kind: str = "do", words: str = "") -> Entry:
            return Entry(
                f"{what}:{run.run_id}", label, note, self._key(key), "RUNS", kind, words, thing, _RUN_ENTER[what]
            )

        if run.state is State.FAILED and writes:
            yield entry("fix", f"show the fix of {run.name}", "run.fix")
        if run.state in ANSWERING:
            yield entry("talk", f"chat with {run.name}", "run.chat")
        if run.live and writes:
            yield entry("stop", f"stop {run.name}", "run.stop", words="kill end")
        if run.state in ANSWERING and run.spec is not None:
            yield entry("url", f"copy the URL of {run.name}", "run.copy-url", note=f":{run.port}")
        yield entry("page", f"open {run.name}", "", kind="open", words="run page curl env lines copy as")
        yield entry("log", f"log of {run.name}", "run.log", kind="open", words="logs output")
        if run.state is State.READY and writes:
            yield entry("probe", f"test the parsers of {run.name}", "dashboard.probe")
            yield entry("bench", f"bench {run.name}", "run.bench", words="benchmark measure limit users speed")
        if run.status.final and not run.dismissed and writes:
            yield entry("dismiss", f"dismiss {run.name}", "run.dismiss")

    def _of_pulls(self) -> Iterable[Entry]:
        """What can be done with what comes from the hub."""
        if self._shell.read_only:
            return
        for one in self._shell.pulls.unfinished:
            name, state = name_of(one), state_word(one)
            verbs = [("pull-cancel", f"cancel the download of {name}", "delete", "ask whether to")]
            if one.state.live:
                verbs.insert(0, ("pull-pause", f"pause the download of {name}", "stop", "pause it"))
            else:
                verbs.insert(0, ("pull-on", f"go on with the download of {name}", "run", "go on"))
            for kind, label, key, enter in verbs:
                yield Entry(f"{kind}:{one.id}", label, state, self._key(f"models.{key}"), "DOWNLOADS", "do",
                            f"{one.repo} pull resume stop", f"download:{one.id}", enter)  # fmt: skip

    def _of_bench(self) -> Iterable[Entry]:
        """What can be done with the benchmark that is made."""
        if (now := self._shell.benches.progress) is not None and not self._shell.read_only:
            how = self._shell.benches.chip.removeprefix("bench").strip().replace("/", " of ")
            yield Entry(f"bench-stop:{now.id}", "stop the benchmark", how, self._key("bench.stop"), "BENCH", "do",
                        "measure cancel", f"bench:{now.id}", "ask whether to")  # fmt: skip

    async def recipes(self) -> list[Entry]:
        """Read the recipes: what can be done with each."""
        found = await self._shell.in_thread(self._shell.studio.recipe_list)
        live = {run.recipe_id for run in self._runs if run.live}
        every = self._shell.snapshot.every if self._shell.snapshot is not None else ()
        last = {run.recipe_id: run for run in every}
        now = time.time()
        entries: list[Entry] = []
        # What ran last comes first among those that answer equally well.
        found = sorted(found, key=lambda one: -(_started(last.get(one[0])) or 0.0))
        for recipe_id, data in found:
            run = last.get(recipe_id)
            note = f"{run.state}, {numbers.ago(_started(run), now)}" if run is not None else "never run"
            words = f"{data.get('name', '')} {data.get('model_path', '')}"
            thing = f"recipe:{recipe_id}"
            if recipe_id not in live and not self._shell.read_only:
                launch = f"launch start {words}"
                entries.append(
                    Entry(
                        f"launch:{recipe_id}",
                        f"run {recipe_id}",
                        note,
                        "r",
                        kind="do",
                        words=launch,
                        thing=thing,
                        enter="launch it",
                    )
                )
            if not self._shell.read_only:
                key = self._key("recipes.edit")
                entries.append(
                    Entry(
                        f"edit:{recipe_id}",
                        f"edit {recipe_id}",
                        "",
                        key,
                        words=words,
                        thing=thing,
                        enter="open the form",
                    )
                )
            entries.append(
                Entry(
                    f"recipe:{recipe_id}",
                    f"recipe {recipe_id}",
                    note,
                    kind="open",
                    words=words,
                    thing=thing,
                    enter="go to it",
                )
            )
        return entries

    # --- settings and chats -----------------------------------------------------------------------------

    async def settings(self) -> list[Entry]:
        """Read the settings, and name the themes."""
        return [*self._themes(), *await self._shell.in_thread(self._read_settings)]

    def _themes(self) -> list[Entry]:
        now = self._shell.theme
        return [  # by their own names: whoever types "theme" is led to the choice of one, not to the first of them
            Entry(f"theme:{name}", f"{name} theme", "now this" if name == now else "dark" if theme.dark else "light",
                  kind="set", words="colours", enter="use it")
            for name, theme in sorted(self._shell.looks.themes.items())
        ]  # fmt: skip

    def _read_settings(self) -> list[Entry]:
        from vllm_studio_tui.config.setting_values import setting_values

        try:
            values = setting_values(self._shell.studio.places, os.environ)
        except StudioError:
            return []  # the sheet of the settings says what is wrong
        return [
            Entry(f"setting:{one.key}", f"setting: {one.key.replace('_', ' ')}",
                  mask_text(one.text)[:40] or "not set", kind="set", words=f"{one.key} {one.help}", enter="change it")
            for one in values
        ]  # fmt: skip

    def chats(self, typed: str) -> list[Entry]:
        """Return the chats whose titles hold what was typed. Blocking; called in a thread."""
        words = [word for word in typed.lower().split() if not "chat".startswith(word)]
        longest = max(words, key=len, default="")
        now = time.time()
        found = self._shell.studio.chat.sessions.list(limit=ASKED if longest else CHATS, search=longest)
        titled = [one for one in found if all(word in one.title.lower() for word in words)][:CHATS]
        return [
            Entry(f"chat:{one.id}", f'chat "{one.title or "New chat"}"',
                  numbers.moment(numbers.when(one.updated_at), now), kind="open", words="open", enter="open the chat")
            for one in titled
        ]  # fmt: skip


def _started(run: RunView | None) -> float | None:
    return run.status.started_at if run is not None else None
