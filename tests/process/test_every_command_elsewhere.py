"""Every command of `vllm-studio --help` on a studio elsewhere: it works there, or says why not and what to do."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.elsewhere import served, short
from tests.originals import RECIPES, made, original_recipe
from tests.ports import free_port
from tests.process.house import House, until
from tests.process.serving import recipe
from vllm_studio_tui.__main__ import main
from vllm_studio_tui.cli import connecting
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.runs import foreign, read
from vllm_studio_tui.studio import Studio

#: Command lines in the order in which they are run, with their exit code and words of what they print. `CHAT` and `RUN`
#: stand for the ids that are there by then.
LINES: tuple[tuple[str, int, str], ...] = (
    ("recipes list --json", 0, '"sim"'),
    ("recipes show sim --json", 0, "served-sim"),
    ("recipes starters --json", 0, "recipes"),
    ("recipes command sim --json", 0, "simulation.engine"),
    ("recipes check sim --json", 0, "problems"),
    ("recipes add two --backend custom --model /m --set command=true", 0, "two"),
    ("recipes new /m --engine vllm --name three --dry-run", 0, "would add three"),
    ("recipes edit two --set command=false", 0, "two"),
    ("recipes duplicate two three", 0, "three"),
    ("recipes history two --json", 0, '"field": "command", "old": "true", "new": "false"'),
    ("recipes restore two 1", 0, "two"),
    ("recipes undo --json", 0, "two"),
    ("recipes compare two three --json", 0, '"changes": []'),
    ("recipes tag three +night -day", 0, "three: #night"),
    ("recipes tags --json", 0, '"tag": "night"'),
    ("recipes pin three", 0, "three is pinned"),
    ("recipes list --tag night --json", 0, '"pinned": true'),
    ("recipes export --json", 0, "three"),
    ("recipes import FILE --json", 0, "four"),
    ("recipes import --running 99999999", 1, "99999999"),
    ("import ORIGINAL --json", 0, '"five"'),
    ("import LITELLM --dry-run --json", 0, '"tokens": 136'),
    ("recipes delete five --yes", 0, ""),
    ("recipes delete two --yes", 0, ""),
    ("recipes delete three --yes", 0, ""),
    ("recipes delete four --yes", 0, ""),
    ("alerts add hot gpu_temperature --above 80 --for 10 --json", 0, '"gpu_temperature"'),
    ("alerts list --json", 0, '"firing": []'),
    ("alerts history --json", 0, '"alerts": []'),
    ("alerts test disk", 1, "on the screens alone"),
    ("alerts remove hot", 0, "hot says nothing any more"),
    ("models list --json", 0, '"models": ['),
    ("models scan --json", 0, '"places": ['),
    ("models show nobody", 1, "no model called nobody"),
    ("models fit /nowhere/at-all --json", 1, "nothing can be said of"),
    ("models delete nobody --yes", 1, "no model called nobody"),
    ("models pull a/b/c", 2, "no name of a model"),
    ("models downloads list --json", 0, '"downloads": []'),
    ("models downloads pause nobody", 1, "no download nobody"),
    ("models downloads resume nobody", 1, "no download nobody"),
    ("models downloads cancel nobody --yes", 1, "no download nobody"),
    ("models downloads forget nobody", 1, "no download nobody"),
    ("launch sim --port PORT --wait --json", 0, '"ready"'),
    ("wait-ready sim --json", 0, '"ready"'),
    ("recipes edit sim --set description=more", 0, "until it is started again"),
    ("status --json", 0, '"ready"'),
    ("status --line", 0, "sim"),
    ("runs list --json", 0, '"sim"'),
    ("runs show sim --json", 0, '"sim"'),
    ("logs sim -n 5 --json", 0, '"lines": ["'),
    ("metrics sim --json --interval 0.2", 0, '"running":0'),
    ("diagnose sim --json", 0, '"reason": null'),
    ("probe sim --json", 0, '"works"'),
    ("gpus --json", 0, "gpus"),
    ("gpus processes --json", 0, '"ours": true'),
    ("gpus processes --flat", 0, "sim"),
    ("gpus environment 99999999", 1, "belongs to no run"),
    ("gpus signal 99999999 --yes", 1, "belongs to no run"),
    ("chat --recipe sim --max-tokens 3 hello", 0, ""),
    ("bench sim --requests 2 --prompt-tokens 8 --output-tokens 3 --warmup 0 --json", 0, '"requests": 2'),
    ("bench run sim --concurrency 0", 2, "users"),
    ("bench list --json", 0, '"recipe_id": "sim"'),
    ("bench show last --json", 0, '"tpot"'),
    ("bench compare last last --json", 0, '"rows"'),
    ("bench limit last --goodput ttft=60s --json", 0, '"users": 1'),
    ("bench stop nobody", 1, "is not being measured"),
    ("bench import FILE", 2, "no JSON"),
    ("bench delete last", 0, ""),
    ("chats list --json", 0, "CHAT"),
    ("chats show CHAT --json", 0, "hello"),
    ("chats search hello --json", 0, "CHAT"),
    ("chats rename CHAT another", 0, ""),
    ("chats pin CHAT", 0, "pinned"),
    ("chats tag CHAT night", 0, "#night"),
    ("chats tags --json", 0, '"night"'),
    ("chats bookmark MESSAGE", 0, "bookmarked"),
    ("chats bookmarks CHAT --json", 0, "MESSAGE"),
    ("chats artifacts CHAT --json", 0, '"artifacts"'),
    ("chats links CHAT --json", 0, '"links"'),
    ("chats context CHAT --json", 0, "tokens"),
    ("chats compact CHAT --window --keep 0 --json", 0, ""),
    ("chats compact CHAT --undo", 0, ""),
    ("chats remove MESSAGE", 0, "taken away"),
    ("chats bring-back", 0, "here again"),
    ("chats fork CHAT --json", 0, "session"),
    ("chats export CHAT", 0, "hello"),
    ("chats import CHATFILE --dry-run", 0, "new"),
    ("chats import CHATFILE --json", 0, ""),
    ("chats delete CHAT --yes", 0, ""),
    ("chats restore CHAT", 0, ""),
    ("compare hello --side sim --side sim,temperature=0 --max-tokens 3", 0, "sim,temperature=0"),
    ("arena scores --json", 0, '"scores": []'),
    ("arena votes --json", 0, '"votes": []'),
    ("arena vote nobody A", 1, "no message nobody"),
    ("lab show --json", 0, '"messages"'),
    ("lab replay --json", 0, '"event":"stats"'),
    ("lab prompt", 2, "has no call that shows the prompt"),
    ("usage --json", 0, "total"),
    ("timeline series --json", 0, '"series"'),
    ("timeline show --json", 0, '"series"'),
    ("timeline pin 5m --note there", 0, "pin 1"),
    ("timeline pins --json", 0, '"there"'),
    ("timeline events --json", 0, '"started"'),
    ("timeline compare 2h..1h 1h..now --json", 0, '"before"'),
    ("timeline unpin 1", 0, "pin 1 is gone"),
    ("record RECORDFILE --seconds 3", 0, "samples"),
    ("requests --json", 0, '"chat"'),
    ("requests cancel nobody", 1, "no request nobody is under way"),
    ("keys add agent --json", 0, '"agent"'),
    ("keys list --json", 0, '"agent"'),
    ("keys delete agent --yes", 0, ""),
    ("library list --json", 0, '"same again"'),
    ("library save preset mine --set top_k=5", 0, "preset mine is kept"),
    ("library show preset mine --json", 0, '"top_k": 5'),
    ("library rename preset mine ours", 0, "preset ours"),
    ("library delete preset ours --yes", 0, "deleted ours"),
    ("render litellm", 0, "served-sim"),
    ("switch sim --port PORT --wait --json", 0, '"ready"'),
    ("runs diff RUN RUN --json", 0, "changes"),
    ("why RUN --json", 0, '"rule"'),
    ("ray", 1, "no Ray is known here"),
    ("ray --address http://127.0.0.1:1 --json", 1, "connection refused"),
    ("stop sim --json", 0, '"exited"'),
    ("restore --json", 0, '"launched": []'),
    ("foreign list --json", 0, '"foreign": '),
    ("foreign attach 99999999", 1, "99999999"),
    ("foreign stop 99999999 --yes", 1, "99999999"),
    ("foreign clean --yes", 0, ""),
    ("mcp list --json", 0, '"servers": []'),
    ("mcp tools --json", 0, "studio__status"),
    ("mcp call studio__status --json", 0, "gpu_error"),
    ("mcp add gone -- no-such-program", 0, "gone is kept"),
    ("mcp test gone --yes", 1, "There is no program no-such-program"),
    ("mcp enable gone --off", 0, "gone is off"),
    ("mcp consents --json", 0, '"server": "gone"'),
    ("mcp remove gone", 0, "gone is removed"),
    ("mcp import MCPFILE --dry-run --json", 0, '"name": "git"'),
    ("attach FILE", 0, "gets it"),
    ("gateway status --json", 0, '"installed": false'),
    ("gateway config", 0, "model_list"),
    ("gateway calls --json", 0, '"calls": []'),
    ("gateway start", 2, "vllm-studio gateway install"),
    ("gateway stop", 1, "gateway"),
)
#: Those that cannot be for a studio elsewhere, and what their refusal says beside how it is done instead.
REFUSED: dict[str, str] = {
    "demo": "the demo runs where it is started",
    "doctor": "it checks this machine",
    "exporter": "it measures this machine",
    "serve": "it serves the studio of this machine",
    "hosts add a ssh://b": "it asks the hosts of the settings here",
    "hosts remove a": "it asks the hosts of the settings here",
    "gateway install": "works on its own machine alone",
    "rank facts": "it is a part of a model of several hosts",
    "rank start": "it is a part of a model of several hosts",
    "rank attend r": "it is a part of a model of several hosts",
    "rank stop r": "it is a part of a model of several hosts",
    "restore --unit": "systemd of the machine",
}
#: They open the screens: see `tests/functional/test_elsewhere.py`.
SCREENS = {"monitor"}
#: It takes the standard streams of its process: see `tests/process/test_mcp_server.py`.
STREAMS = {"mcp serve"}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that has no further ones below it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path)
    else:
        for name, one in below.items():
            yield from commands(one, (*path, name))


def test_every_command_has_decided_what_it_does_on_a_studio_elsewhere() -> None:
    known = set(commands(get_command(build())))
    decided = [line for line, _, _ in LINES] + list(REFUSED) + list(SCREENS) + list(STREAMS)
    missing = {one for one in known if not any(f"{line} ".startswith(f"{one} ") for line in decided)}
    assert not missing, "write down here whether they work over --connect"
    assert len(known) > 50


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "there")
    with Studio.open_sync(made.places) as studio:
        studio.recipes.create(recipe("sim"))
    yield made
    for run in read.live_runs(made.places):
        made.end()
        assert run
    made.end()


@pytest.mark.timeout(240)
def test_every_command_works_on_a_studio_elsewhere_or_says_why_not(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
    file = tmp_path / "four.yaml"
    file.write_text("recipes:\n- {id: four, name: four, backend: custom, model_path: /m, command: 'true'}\n")
    find = foreign.find_orphans  # what tests of other workers left behind for a moment is theirs
    monkeypatch.setattr(
        foreign, "find_orphans", lambda: [one for one in find() if one.pid in {ours.pid for ours in house.ours()}]
    )
    servers = tmp_path / "mcp.json"
    servers.write_text('{"mcpServers": {"git": {"command": "uvx", "args": ["mcp-server-git"]}}}')
    names = {"FILE": str(file), "CHATFILE": str(tmp_path / "chat.json"), "PORT": str(free_port())}
    names["MCPFILE"], names["RECORDFILE"] = str(servers), str(tmp_path / "session.gz")
    rows = [("five", json.dumps(original_recipe("five")), "", "")]
    names["LITELLM"] = str(Path(__file__).parents[1] / "fixtures" / "litellm" / "spend-logs.csv")
    names["ORIGINAL"] = str(tmp_path / "recipes.db")
    (tmp_path / "recipes.db").write_bytes(made([RECIPES], {"recipes": rows}))

    def run(line: str, address: str) -> tuple[int, str]:
        monkeypatch.setattr(connecting, "chosen", None)
        words = [names.get(word, word) for word in line.split()]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        monkeypatch.setattr(sys, "argv", ["vllm-studio", "--connect", address, *words])
        try:
            code = main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    wrong: list[str] = []
    with short(house.root) as places, served(places) as address:
        url = f"unix://{address.path}"
        for line, wanted, words in LINES:
            code, said = run(line, url)
            if line == "chats list --json":
                names["CHAT"] = json.loads(said)["sessions"][0]["id"]
            elif line == "chats show CHAT --json":
                names["MESSAGE"] = json.loads(said)["messages"][-1]["id"]
            elif line.startswith("chats export"):
                Path(names["CHATFILE"]).write_text(said)
            elif line.startswith("runs list"):
                names["RUN"] = json.loads(said)["runs"][0]["run_id"]
            if code != wanted or "Traceback" in said or names.get(words, words) not in said:
                wrong.append(f"{line}: {code}, not {wanted} with {words!r}\n{said[-1500:]}")
        for line, words in REFUSED.items():
            code, said = run(line, url)
            if code != 2 or words not in said or "there" not in said:
                wrong.append(f"{line}: {code}, not refused with {words!r} and what to do\n{said[-1500:]}")
        assert not wrong, "\n\n".join(wrong)
        until(lambda: not read.live_runs(house.places), "what was launched there was stopped there")
    assert not (tmp_path / "here" / "data").exists(), "nothing of it was done here"


def test_an_engine_elsewhere_is_watched_until_one_stops(house: House, tmp_path: Path) -> None:
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.remote.studio import connect

    with short(house.root) as places, served(places) as address, connect(address, Places.under(tmp_path)) as there:
        run = there.launcher.launch(there.recipes.get("sim"))
        until(lambda: there.runs.find("sim").state.value == "ready", "it is ready")
        readings = there.runs.readings(run, 0.2)
        seen = [next(readings) for _ in range(3)]
        assert [one.error for one in seen] == [None] * 3
        assert seen[-1].running == 0
        assert seen[-1].generation_tokens_per_second is not None
        del readings
        there.launcher.stop(run)
