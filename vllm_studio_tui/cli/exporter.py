"""`exporter`: what the studio measures, for Prometheus, without `serve`."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import note, say
from vllm_studio_tui.domain.errors import StudioError, UsageError

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import SamplerApi
    from vllm_studio_tui.services.serving.exposition import ServeMetrics

#: Seconds that `--once` waits for engines to answer.
FIRST_ANSWERS = 3.0


def register(app: typer.Typer) -> None:
    @app.command("exporter")
    def exporter(
        host: str = typer.Option("", help="Where to listen; 127.0.0.1 without it."),
        port: int | None = typer.Option(None, min=0, max=65535, help="Its port; `exporter_port` of the settings."),
        textfile: Path | None = typer.Option(
            None, help="Write this file, NAME.prom, for node_exporter's textfile collector, and listen nowhere."
        ),
        once: bool = typer.Option(False, "--once", help="Print the metrics, or write the file, once."),
        interval: float = typer.Option(5.0, min=1.0, max=3600.0, help="Seconds between two looks at all there is."),
        insecure: bool = typer.Option(False, "--insecure", help="Let anybody who reaches HOST read the metrics."),
    ) -> None:
        """Give Prometheus what the studio measures of GPUs, runs and engines, until it is stopped."""
        if textfile is not None and (host or port is not None):
            raise UsageError("--textfile listens nowhere", advice="Leave --host and --port out, or --textfile.")
        with open_studio() as studio:
            if textfile is None and not host and port is None and not once:
                textfile = studio.settings.exporter_textfile
            from vllm_studio_tui.services.serving.exposition import ServeMetrics

            if textfile is not None and textfile.suffix != ".prom":
                raise UsageError("node_exporter reads files whose name ends in .prom", cause=str(textfile))
            studio.sampler.set_pace(interval)
            studio.sampler.start()
            # node_exporter tells of a process of its own, by the same names.
            metrics = ServeMetrics(process=textfile is None)
            if once:
                _wait_for_engines(studio.sampler)
                _once(metrics, studio.sampler, textfile)
                return
            ended = _Ending()
            if textfile is not None:
                _write_on(metrics, studio.sampler, textfile, interval, ended)
            else:
                chosen = studio.settings.exporter_port if port is None else port
                _listen(metrics, studio.sampler, host or "127.0.0.1", chosen, ended, insecure=insecure)
        raise typer.Exit(ended.code)


class _Ending:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.code = 0
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._end)

    def _end(self, number: int, _: object) -> None:
        self.code = 130 if number == signal.SIGINT else 0
        self._event.set()

    def wait(self, seconds: float | None = None) -> bool:
        return self._event.wait(seconds)


def _wait_for_engines(sampler: SamplerApi) -> None:
    """Wait until all engines that answer have been asked, but not long."""
    from vllm_studio_tui.domain.run import ANSWERING

    deadline = time.monotonic() + FIRST_ANSWERS
    while (left := deadline - time.monotonic()) > 0 or sampler.latest is None:
        shown = sampler.latest
        if shown is not None and all(shown.engine(run.run_id) for run in shown.runs if run.state in ANSWERING):
            return
        sampler.wake()
        time.sleep(0.1)
        if left < -FIRST_ANSWERS:
            raise StudioError("nothing could be measured in time")


def _once(metrics: ServeMetrics, sampler: SamplerApi, textfile: Path | None) -> None:
    text = metrics.text(sampler.latest)
    if textfile is None:
        say(text.decode(), end="")
        return
    try:
        _write(textfile, text)
    except OSError as error:
        raise _unwritten(textfile, error) from None


def _write_on(metrics: ServeMetrics, sampler: SamplerApi, textfile: Path, interval: float, ended: _Ending) -> None:
    """Write the file again and again; at the end it goes, for what it says is true no more."""
    wrong = ""
    _wait_for_engines(sampler)
    note(f"writing {textfile} every {interval:g} s")
    try:
        while True:
            try:
                _write(textfile, metrics.text(sampler.latest))
                wrong = ""
            except OSError as error:
                if wrong != (wrong := str(error)):
                    note(str(_unwritten(textfile, error)))
            if ended.wait(interval):
                return
    finally:
        with contextlib.suppress(OSError):
            textfile.unlink()


def _write(path: Path, text: bytes) -> None:
    from vllm_studio_tui.kit.paths import write_atomic

    write_atomic(path, text, mode=0o644)  # node_exporter is another user


def _unwritten(path: Path, error: OSError) -> StudioError:
    return StudioError(f"{path} cannot be written", cause=error.strerror or str(error))


def _listen(
    metrics: ServeMetrics, sampler: SamplerApi, host: str, port: int, ended: _Ending, *, insecure: bool
) -> None:
    from vllm_studio_tui.cli.exporter_server import ExporterServer
    from vllm_studio_tui.domain.recipe_imports import is_loopback

    if not insecure and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, and the exporter asks for no key",
            advice="`vllm-studio serve` has the same metrics behind a key; or insist with --insecure.",
        )
    try:
        server = ExporterServer(host, port, metrics, lambda: sampler.latest)
    except OSError as error:
        advice = "Name another port: --port."
        raise StudioError(f"cannot listen on {host}, port {port}", cause=error.strerror or "", advice=advice) from None
    with server:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        say(server.url)
        ended.wait()
        server.shutdown()
