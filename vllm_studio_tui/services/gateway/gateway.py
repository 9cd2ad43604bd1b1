"""The gateway as a run: started with a keeper of its own, watched, restarted and stopped like an engine.

Its runs lie in a directory of their own, so that nobody takes them for a model: no chat, no routing, no usage.
"""

from __future__ import annotations

import os
import secrets as random_secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.errors import LaunchRefused, NotFound
from vllm_studio_tui.domain.spec import ReadyProbe, Restart, RunSpec, Stage
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.gateway import inside_callback, inside_start
from vllm_studio_tui.services.gateway.calls import calls_folder, fold_calls
from vllm_studio_tui.services.gateway.environment import CHOSEN, VERSION, Environment, inherited_path
from vllm_studio_tui.services.render.litellm import MASTER, UPSTREAM, VARIABLES, configuration
from vllm_studio_tui.services.render.source import RenderSource, header
from vllm_studio_tui.services.render.yaml_text import yaml_text
from vllm_studio_tui.services.runs import Runs
from vllm_studio_tui.store.gateway_calls import GatewayCallRows

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.gateway_call import GatewayCall
    from vllm_studio_tui.store.database import Database

NAME = "gateway"
#: Of the callback beside the configuration.
MODULE = "vllm_studio_callback"
#: Seconds that a start may take: it imports for half a minute on a busy machine.
START = 300.0
#: What Prisma needs to find its engine where nothing can be downloaded.
PRISMA = ("PRISMA_QUERY_ENGINE_BINARY", "PRISMA_OFFLINE_MODE", "PRISMA_BINARY_CACHE_DIR")


def gateway_places(places: Places) -> Places:
    """Return the places of the gateway's runs."""
    return replace(places, state=places.state / NAME)


def _text(source: RenderSource) -> str:
    return header(source, "litellm") + yaml_text(configuration(source, callback=f"{MODULE}.callback"))


class Gateway:
    """What a person can do with the gateway. Blocking.

    Args:
        source: Returns what its configuration is made from.
        db: Returns the database.
    """

    def __init__(
        self, places: Places, settings: Settings, source: Callable[[], RenderSource], db: Callable[[], Database]
    ) -> None:
        self._db = db
        self._places = places
        self._settings = settings
        self._source = source
        self._runs = gateway_places(places)
        self.environment = Environment.of(places)

    @property
    def url(self) -> str:
        """Return where clients find it."""
        return f"http://127.0.0.1:{self._settings.gateway_port}/v1"

    @property
    def calls_folder(self) -> Path:
        """Return where its callback writes."""
        return calls_folder(self._places)

    def install(self, said: Callable[[str], None]) -> None:
        """Install LiteLLM; see `Environment.install`.

        Raises:
            LaunchRefused: It runs.
            StudioError: It could not be installed.
        """
        if self.live() is not None:
            raise LaunchRefused("the gateway runs", advice="Stop it first: vllm-studio gateway stop")
        self.environment.install(self._settings.gateway_python, said)

    def config(self) -> str:
        """Return the configuration that a start writes. It names secrets and holds none."""
        return _text(self._source())

    def master_key(self) -> str:
        """Return a reference to the key by which it is used: that of the settings, or to one that a start makes."""
        return self._settings.gateway_master_key or f"file:{self._own_key}"

    @property
    def _own_key(self) -> Path:
        return self._places.data / "secrets" / "gateway-master-key"

    def live(self) -> read.RunView | None:
        """Return its run; None where there is none that lives."""
        control.settle(self._runs)
        return next(reversed(read.live_runs(self._runs)), None)

    def last(self) -> read.RunView | None:
        """Return its latest run, also one that has ended."""
        control.settle(self._runs)
        return next(reversed(read.all_runs(self._runs)), None)

    def start(self) -> read.RunView:
        """Write its configuration and start it.

        Raises:
            UsageError: It is not installed.
            LaunchRefused: It runs already, its port is taken, or `serve` asks for a key and it has none.
        """
        self.environment.require()
        source = self._source()
        self._require_key(source)
        folder = self.environment.folder
        private_dir(self.calls_folder)
        if not self._settings.gateway_master_key and not self._own_key.exists():
            private_dir(self._own_key.parent)
            write_atomic(self._own_key, f"sk-{random_secrets.token_urlsafe(32)}\n".encode())
        config = folder / "config.yaml"
        write_atomic(config, _text(source).encode())
        shutil.copyfile(inside_callback.__file__, folder / f"{MODULE}.py")
        control.prune(self._runs, keep=5, keep_bytes=64 * 1024 * 1024, folded=lambda run: True)
        return control.launch(
            self._runs,
            lambda run_id, port: self._spec(run_id, port, config, needs_key=source.needs_key),
            NAME,
            host="127.0.0.1",
            port=self._settings.gateway_port,
            first_port=self._settings.gateway_port,
            gpus=(),
            scope=self._settings.systemd_scope,
        )

    def stop(self, *, force: bool = False) -> read.RunView:
        """Stop it.

        Raises:
            NotFound: It does not run.
        """
        run = self.live()
        if run is None:
            raise NotFound("the gateway does not run", advice="See `vllm-studio gateway status`.")
        return control.stop(run, force=force)

    def status(self) -> dict[str, Any]:
        """Return how it is, as `gateway status --json` prints it."""
        run = self.last()
        state = run.state if run is not None else "stopped"
        return {
            "installed": self.environment.installed(),
            "litellm": VERSION,
            "pinned": CHOSEN.isoformat(),
            "state": state,
            "url": self.url if run is not None and run.live else None,
            "run_id": run.run_id if run is not None else None,
            "pid": run.status.pid if run is not None and run.live else None,
            "restarts": run.status.restarts if run is not None else None,
            "log": str(run.folder / "engine.log") if run is not None else None,
            "reason": run.status.reason if run is not None else None,
            "title": run.status.title if run is not None else None,
            "advice": run.status.advice if run is not None else None,
            "master_key": self.master_key(),
        }

    def watch(self, run: read.RunView) -> Iterator[read.RunView]:
        """Yield its run as it is now, again and again; where it loses its keeper it is given a new one."""
        return Runs(self._runs).watch(run)

    def calls(self, limit: int = 50) -> list[GatewayCall]:
        """Return the last requests that it was asked, the latest first, each with the row that it is counted by.

        Raises:
            StoreError: The database cannot be read or written.
        """
        db = self._db()
        fold_calls(self.calls_folder, db)
        return GatewayCallRows(db).recent(limit)

    def _require_key(self, source: RenderSource) -> None:
        """Refuse a gateway whose every request would be refused by `serve`."""
        if source.needs_key and not self._settings.api_key and not os.environ.get(UPSTREAM):
            raise LaunchRefused(
                "the gateway has no key of serve",
                cause="There are keys, so `serve` asks for one, and the setting api_key names none.",
                advice=f"Make one (vllm-studio keys add litellm --scope inference) and put it into {UPSTREAM}, or set "
                "api_key.",
            )

    def _references(self, needs_key: bool) -> dict[str, str]:
        refs = {
            name: reference
            for name, key in VARIABLES.items()
            if (reference := self.master_key() if name == MASTER else getattr(self._settings, key))
        }
        if needs_key:
            refs.setdefault(UPSTREAM, f"env:{UPSTREAM}")
        return refs

    def _spec(self, run_id: str, port: int, config: Path, *, needs_key: bool = False) -> RunSpec:
        refs = self._references(needs_key)
        kept = [*refs, *PRISMA, "GATEWAY_CALLS"]
        argv = (
            str(self.environment.python), "-I", "-u", inside_start.__file__, "--config", str(config),
            "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False",
        )  # fmt: skip
        return RunSpec(
            run_id=run_id,
            recipe_id=NAME,
            name="LiteLLM",
            backend=NAME,
            model="*",
            argv=argv,
            host="127.0.0.1",
            port=port,
            base_url=f"http://127.0.0.1:{port}/v1",
            created_at=time.time(),
            engine="LiteLLM",
            engine_version=VERSION,
            env={
                "PATH": inherited_path(self.environment.root),
                "GATEWAY_KEEP": ",".join(kept),
                "GATEWAY_CALLS": str(self.calls_folder),
            },
            env_refs=refs,
            cwd=str(self.environment.folder),
            failures=FAILURES,
            ready=ReadyProbe("/health/liveliness", deadline=START),
            stages=(Stage(r"Initialized router|Setting .*Cache", "config"), Stage(r"Uvicorn running on", "serving")),
            restart=Restart("on-failure"),
        )
