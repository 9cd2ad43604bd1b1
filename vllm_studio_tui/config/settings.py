"""Settings: flags over `VLLM_STUDIO_*` variables over `config.yaml` over defaults.

A new setting is one field of `Settings`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, PrivateAttr, ValidationError

from vllm_studio_tui.config.setting_types import (
    AlertSetting,
    AnyPath,
    Dashboard,
    Group,
    Hosts,
    Name,
    Peer,
    Port,
    Program,
    QuietHours,
    Reference,
    TokenPrice,
    WebAddress,
)
from vllm_studio_tui.config.settings_file import lines_of, read_file, read_table, read_text, unreadable
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.kit.secrets import is_reference

if TYPE_CHECKING:
    from vllm_studio_tui.kit.paths import Places

PREFIX = "VLLM_STUDIO_"
#: Where a setting comes from that was given as a flag.
COMMAND_LINE = "the command line"
#: Variables that are no settings.
OTHER_VARIABLES: Mapping[str, str] = {
    "VLLM_STUDIO_ALERT": "Set for `alert_command`: the name of the alert's rule.",
    "VLLM_STUDIO_ALERT_RUN": "Set for `alert_command`: the run that it is about, if it is about one.",
    "VLLM_STUDIO_ALERT_SEVERITY": "Set for `alert_command`: `trouble` or `warning`.",
    "VLLM_STUDIO_ALERT_STATE": "Set for `alert_command`: `firing` or `over`.",
    "VLLM_STUDIO_ALERT_SUBJECT": "Set for `alert_command`: what it is about, such as `GPU 3`.",
    "VLLM_STUDIO_ALERT_WORDS": "Set for `alert_command`: the alert in a sentence.",
    "VLLM_STUDIO_CONNECT": "The studio of another machine that commands and screens are for: an address or a "
    "name of `hosts`, as `--connect` names it.",
    "VLLM_STUDIO_HEAD": "Set by a task that `render skypilot` wrote for several machines: the address of the first.",
    "VLLM_STUDIO_OWN": "Likewise the machine's own address.",
    "VLLM_STUDIO_HOME": "Everything (settings, data, runs, cache) is under this directory; otherwise where "
    "the platform keeps such things.",
    "VLLM_STUDIO_CHAT_API_KEY": "The key that `chat --base-url` sends.",
    "VLLM_STUDIO_DEMO_MODEL": "The GGUF file that `demo` uses instead of fetching one.",
    "VLLM_STUDIO_SIMULATE_GPUS": "Simulated GPUs in place of real ones, such as `4`, or `4,busy=1` for one that "
    "somebody else keeps busy; the header of the screens says so.",
    "VLLM_STUDIO_SIMULATED_SINCE": "Set by `demo --simulate` for a simulated engine: the second since which it serves.",
    "VLLM_STUDIO_RUN": "Set by the studio for an engine: the run that its processes belong to.",
    "VLLM_STUDIO_SGLANG_KEY": "Set by the studio for SGLang: the key that it asks for.",
}
#: Settings whose value is a table: in a variable and on a line it is written as YAML or JSON.
TABLES = frozenset({"alerts", "gateway_prices", "groups", "hosts", "peers"})
GIB = 1024**3

#: Variables that are not `VLLM_STUDIO_` plus the field's name: those of the web product this one re-imagines.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "models_dirs": ("VLLM_STUDIO_MODELS_DIR",),
    "tabby_dir": ("VLLM_STUDIO_TABBY_API_DIR",),
    "llama_server": ("VLLM_STUDIO_LLAMA_BIN",),
}


class Settings(BaseModel):
    """Everything that can be set.

    Attributes:
        inference_port: The first port that a recipe without a port of its own gets.
        host: Where `serve` listens. Anything but loopback needs a key.
        port: Where `serve` listens.
        api_key: Reference (`env:NAME`, `file:PATH`) to a key of `serve` that may do everything.
        socket: A unix socket on which `serve` listens too; whoever may open it may do everything.
        tls_cert: The certificate, with its chain, with which `serve` speaks TLS.
        tls_key: The key of that certificate; none: it is in the same file.
        public_metrics: Whether `/metrics` of `serve` needs no key.
        cors_origins: Sites whose pages may speak to `serve`, such as `http://localhost:3000`; `*`: any.
        max_body: How large a request to `serve` may be.
        loading: What is shown to who waits for a model: `comment` (in the stream), `reasoning` (as the model's
            thinking) or `503` (nothing: try again later).
        shutdown_grace: Seconds that answers of `serve` may take to end after it was told to stop.
        webhook_url: Where `serve` posts batches of requests that have ended: an http or https address, or a reference
            (`env:NAME`, `file:PATH`) to one that is a secret itself.
        webhook_secret: Reference to the secret with which those are signed.
        on_demand: Which recipes a request to `serve` may have loaded: `off`, `known` (those with `on_demand: true`) or
            `all` (but those with `on_demand: false`).
        default_model: Who answers `serve`'s requests that name a model that nobody has; none: they are refused.
        max_loaded: How many models may be loaded when `serve` loads another; none: as many as fit.
        max_queue: How many requests may wait in `serve`; more are refused.
        max_wait: Seconds that a request may wait for its model.
        max_consecutive: Seconds for which a model goes on to answer while another waits for its place.
        min_warm: Seconds that a model stays loaded before `serve` stops it for another.
        abandon_after: Seconds after which a load that nobody waits for any more may be stopped for another.
        idle_ttl: Seconds without a request after which a model that a request had loaded is stopped; none: never.
        groups: Recipes that `serve` loads together or one at a time: `{NAME: {members: [ID], together: true,
            persistent: false}}`.
        peers: Servers on other hosts, asked for as `NAME/MODEL`: `{NAME: {url: http://host:8080/v1, api_key: env:KEY,
            models: [MODEL]}}`.
        hosts: Studios on other hosts, for the page of hosts and for `--connect NAME`: `{NAME: {connect:
            ssh://gpu-box}}`; for http and https also `api_key: env:KEY`, and `insecure_http: true` for HTTP without TLS
            to another machine.
        ray_address: The dashboard of a Ray cluster that the monitor shows, as `http://head:8265`; none: that of
            `RAY_DASHBOARD_ADDRESS` or `RAY_ADDRESS`, or of a live run that was handed over to Ray Serve, else none is
            asked.
        ray_token: Reference to the token that it asks for; none: `RAY_AUTH_TOKEN`, or the file of Ray's own programs.
        gateway_port: Where `gateway` answers, on this machine alone.
        gateway_python: The interpreter of which the environment of `gateway` is made; none: the studio's own.
        gateway_master_key: Reference to the key by which everything of `gateway` may be done; none: one is made.
        gateway_redis_url: Reference to the address of a Redis, `redis://:PASSWORD@HOST:PORT`, where `gateway` keeps
            answers; none: it keeps none.
        gateway_database_url: Reference to the address of a PostgreSQL, where `gateway` keeps keys and budgets; none: it
            has no keys but its own.
        gateway_prices: What a million tokens of a recipe cost, for budgets of `gateway`: `{ID: {input: 0.1,
            output: 0.4}}`; none: nothing.
        tools_folder: The folder whose files a model's tools may read; none: no file is read.
        tools_fetch_private: Let a model's tool `fetch` ask addresses of this machine and its networks too.
        chat_titles: Have the model write the title of a new chat on the screen, by a short request after the first
            answer; without it a chat is called by its first words.
        models_dirs: Folders that are searched for models.
        vllm_executable: The program `vllm`, where a recipe names none; without it, the one in PATH.
        sglang_python: The interpreter that has SGLang, where a recipe names none.
        llama_server: The program `llama-server`, where a recipe names none.
        transformers_executable: The program `transformers`, where a recipe names none.
        tabby_dir: The folder of a checkout of TabbyAPI.
        embedded_threads: Threads of the embedded engine; none: the physical cores that are free.
        systemd_scope: Put each run into a scope of the user's systemd, which outlives a logout.
        nodes_lost_after: Seconds without a word between this machine and a host of a model on several hosts (`nodes`),
            after which that host is lost here, and its part ends there.
        alerts: Alerts by name, `{NAME: {what: kv_cache, above: 95%, for: 60, clear: 90%, only: qwen*}}`, which are
            added to those that are built in, or change them; see the guide on alerts.
        alert_quiet: Hours in which nobody is told of alerts, `22:00-07:00` in local time; the screens show them.
        alert_command: A command, as a list of words, that is run when an alert begins and when it is over.
        alert_webhook: Where alerts are posted, as `webhook_url` is written; signed with `webhook_secret`.
        electricity_price: What a kWh costs; none: `usage` shows energy without what it cost.
        currency: The currency of `electricity_price`.
        runs_keep: How many ended runs are kept.
        runs_keep_bytes: How large the logs and ledgers of ended runs may be together, as in `5 GiB`.
        theme: The name of a theme; none: the default one.
        ascii: Draw with ASCII alone; without it, where the terminal has no other characters.
        colours: `none`, `16`, `256` or `true`, where the terminal says less or more than it can.
        background: `dark` or `light`, where the terminal does not say; a theme that is set comes before it.
        multiplexer: `tmux`, `screen` or `none`: what the clipboard and notices have to pass through.
        pictures: `blocks` (characters), `kitty`, `sixel` or `off`, where the terminal says less or more than it can.
            Sixel draws only a picture that is looked at whole.
        mouse: Take the mouse; without it the terminal selects text itself.
        notify: `away`: give notice while the terminal says that it is not in front; `always`, also where it says
            nothing; or `never`.
        notify_ready: Give notice of a run that is ready.
        notify_failed: Give notice of a run that failed.
        notify_answer: Give notice of an answer that took 20 seconds or more.
        notify_alert: Give notice of an alert that says so.
        notify_bell: Ring the bell for a notice.
        notify_desktop: Send a notice to the desktop (OSC 9), through tmux and screen too.
        title: Show the state in the title of the terminal.
        refresh_seconds: Seconds between two samples of GPUs and engines.
        samples_mb: MiB that the samples of up to 30 days may take on the disk; 0: none are kept.
        exporter_port: Where `exporter` answers Prometheus.
        exporter_textfile: The file, NAME.prom, that `exporter` writes instead, for node_exporter's textfile collector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    inference_port: Port = 8000
    host: str = Field("127.0.0.1", min_length=1, max_length=255)
    port: Port = 8080
    api_key: Reference = None
    socket: AnyPath | None = None
    tls_cert: AnyPath | None = None
    tls_key: AnyPath | None = None
    public_metrics: bool = False
    cors_origins: tuple[str, ...] = ()
    max_body: ByteSize = Field(ByteSize(256 * 1024**2), ge=1024)
    loading: Literal["comment", "reasoning", "503"] = "comment"
    shutdown_grace: float = Field(30.0, ge=0, le=3600)
    webhook_url: WebAddress = None
    webhook_secret: Reference = None
    on_demand: Literal["off", "known", "all"] = "known"
    default_model: str | None = Field(None, min_length=1, max_length=256)
    max_loaded: int | None = Field(None, ge=1, le=1000)
    max_queue: int = Field(100, ge=0, le=100_000)
    max_wait: float = Field(600, gt=0, le=86400, allow_inf_nan=False)
    max_consecutive: float = Field(120, ge=0, le=86400, allow_inf_nan=False)
    min_warm: float = Field(30, ge=0, le=86400, allow_inf_nan=False)
    abandon_after: float = Field(10, ge=0, le=86400, allow_inf_nan=False)
    idle_ttl: float | None = Field(None, gt=0, allow_inf_nan=False)
    groups: dict[Name, Group] = {}  # pydantic copies it
    peers: dict[Name, Peer] = {}
    hosts: Hosts = {}
    ray_address: Dashboard = None
    ray_token: Reference = None
    gateway_port: Port = 4100
    gateway_python: Program | None = None
    gateway_master_key: Reference = None
    gateway_redis_url: Reference = None
    gateway_database_url: Reference = None
    gateway_prices: dict[Name, TokenPrice] = {}
    tools_folder: AnyPath | None = None
    tools_fetch_private: bool = False
    chat_titles: bool = True
    models_dirs: tuple[AnyPath, ...] = ()
    vllm_executable: Program | None = None
    sglang_python: Program | None = None
    llama_server: Program | None = None
    transformers_executable: Program | None = None
    tabby_dir: AnyPath | None = None
    embedded_threads: int | None = Field(None, ge=1, le=1024)
    systemd_scope: bool = False
    nodes_lost_after: float = Field(120.0, ge=2, le=86400, allow_inf_nan=False)
    alerts: dict[Name, AlertSetting] = {}
    alert_quiet: QuietHours | None = None
    alert_command: tuple[str, ...] = ()
    alert_webhook: WebAddress = None
    electricity_price: float | None = Field(None, ge=0, allow_inf_nan=False)
    currency: str = Field("EUR", min_length=1, max_length=8)
    runs_keep: int = Field(50, ge=0)
    runs_keep_bytes: ByteSize = Field(ByteSize(5 * GIB), ge=0)
    theme: str | None = Field(None, min_length=1, max_length=64)
    ascii: bool | None = None
    colours: Literal["auto", "none", "16", "256", "true"] = "auto"
    background: Literal["auto", "dark", "light"] = "auto"
    multiplexer: Literal["auto", "tmux", "screen", "none"] = "auto"
    pictures: Literal["auto", "blocks", "kitty", "sixel", "off"] = "auto"
    mouse: bool = True
    notify: Literal["away", "always", "never"] = "away"
    notify_ready: bool = True
    notify_failed: bool = True
    notify_answer: bool = True
    notify_alert: bool = True
    notify_bell: bool = False
    notify_desktop: bool = True
    title: bool = True
    refresh_seconds: float = Field(1.0, ge=0.2, le=60)
    samples_mb: int = Field(64, ge=0, le=4096)
    exporter_port: Port = 9489
    exporter_textfile: AnyPath | None = None

    _origins: Mapping[str, str] = PrivateAttr({})

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each setting comes from that is not the default, in words."""
        return self._origins


def load_settings(places: Places, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of a home.

    Args:
        places: Its `settings_file` need not exist.
        environ: An empty variable counts as not set.
        flags: Field names to values; None counts as not given.

    Raises:
        SettingsError: It names the file and line, or the variable, and the nearest valid key.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, (value, line) in read_file(places.settings_file, _known).items():
        values[key], origins[key] = value, f"{places.settings_file}, line {line}"
    for key, (value, variable) in _from_environ(environ).items():
        values[key], origins[key] = value, f"the variable {variable}"
    for key, value in (flags or {}).items():
        if value is not None:
            _known(key, COMMAND_LINE)
            values[key], origins[key] = value, COMMAND_LINE
    try:
        made = Settings.model_validate(values)
        made._origins = origins
        return made
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        raise SettingsError(
            f"{key} cannot be used",
            cause=f"{origins.get(key, 'settings')}: {first['msg'].removeprefix('Value error, ')}",
            advice=f"Correct {key} there, or remove it to have the default.",
        ) from None


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return variables that look like settings and are not, each with the nearest one that is."""
    others = set(OTHER_VARIABLES)
    known = {name for key in Settings.model_fields for name in variables(key)}
    return [
        (name, _nearest(name, known))
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known | others
    ]


def save_setting(places: Places, key: str, value: Any) -> None:
    """Keep one setting in the settings file; every other line, and a comment behind it, stays as it is.

    Args:
        value: As JSON holds it; None takes the setting out of the file.

    Raises:
        SettingsError: The file cannot be read or written.
    """
    _known(key, str(places.settings_file))
    text = read_text(places.settings_file) or ""
    line = f"{key}: {json.dumps(value, ensure_ascii=False)}" if value is not None else ""
    found = lines_of(text, key)
    if found is not None:
        lines = text.splitlines()
        first, last, comment = found
        lines[first : last + 1] = [f"{line}{comment}"] if line else ([comment.strip()] if comment else [])
        text = "\n".join(lines) + "\n" if lines else ""
    elif line:
        text = f"{text.rstrip()}\n{line}\n".lstrip()
    try:
        private_dir(places.settings_file.parent)
        write_atomic(places.settings_file, text.encode())
    except OSError as error:
        raise unreadable(str(places.settings_file), error.strerror or "cannot be written") from None


def variables(key: str) -> tuple[str, ...]:
    """Return the names of the environment variables that set a key, the strongest first."""
    return (f"{PREFIX}{key.upper()}", *VARIABLES.get(key, ()))


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for key in Settings.model_fields:
        for name in variables(key):
            text = environ.get(name, "").strip()
            if not text:
                continue
            value: Any = text
            if key == "models_dirs":
                value = [part for part in text.split(os.pathsep) if part.strip()]
            elif key in TABLES:
                value = read_table(text, f"the variable {name}")
            elif key == "api_key" and not is_reference(text):
                value = f"env:{name}"  # the variable holds the key itself, as it always did
            found[key] = value, name
            break
    return found


def _known(key: str, where: str) -> None:
    if key in Settings.model_fields:
        return
    near = _nearest(key.replace("-", "_").lower(), Settings.model_fields)
    raise SettingsError(
        f"{key[:80]!r} is no setting",
        cause=f"{where}.",
        advice=f"Did you mean {near}?" if near else "The settings are listed in the documentation.",
    )


def _nearest(name: str, known: Any) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)
