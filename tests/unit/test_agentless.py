"""Hosts without a studio: what is made of all that their shells may say."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.smi import FIXTURES, rows
from vllm_studio_tui.backends.registry import backends
from vllm_studio_tui.config.hosts import made_of
from vllm_studio_tui.domain.host_overview import SEEN, HostOverview, read_overview
from vllm_studio_tui.remote.agentless import frames as frames_module
from vllm_studio_tui.remote.agentless import script
from vllm_studio_tui.remote.agentless.engines import (
    address_of,
    on_gpus,
    read_answer,
    read_process,
    without_parts,
)
from vllm_studio_tui.remote.agentless.frames import Frame, Frames, Section, TooMuch
from vllm_studio_tui.remote.agentless.gpus import read_amd, read_apps, read_nvidia, read_pci
from vllm_studio_tui.remote.agentless.view import HostView

KINDS = list(backends().values())
COLUMNS = script.QUERIES[0].split(",")


def frame(*sections: tuple[str, str], serial: int = 1) -> bytes:
    """An answer as the script prints it; the first word of a section's name is its name."""
    parts = [f"\n@studio n begin {serial}\n", *(f"\n@studio n {name}\n{body}" for name, body in sections)]
    return ("".join(parts) + f"\n@studio n end {serial}\n").encode()


def taken(view: HostView, *sections: tuple[str, str]) -> HostOverview:
    (found,) = Frames("n").feed(frame(*sections))
    return view.take(found)


def gpu_text(*names: str) -> str:
    tables = [rows(name) for name in names]
    lines = [
        ", ".join([str(at), f"GPU-{at}", *(table[1][table[0].index(column)] for column in COLUMNS[2:])])
        for at, table in enumerate(tables)
    ]
    return "\n".join([*lines, "", "rc 0", ""])


# --- answers ------------------------------------------------------------------------------------------------


def test_answers_are_cut_out_of_what_comes_however_it_is_cut_and_whatever_is_around() -> None:
    data = b"Welcome to gpu-box!\r\n\x1b[2J** maintenance **\n" + frame(("host", "uptime 5\n"), ("apps", "a\n\nb"))
    data += b"stray\n" + frame(("host", ""), serial=2)
    for size in (1, 7, 4096):
        frames = Frames("n")
        found = [one for at in range(0, len(data), size) for one in frames.feed(data[at : at + size])]
        assert [one.serial for one in found] == [1, 2]
        assert [(one.name, one.body) for one in found[0].sections] == [("host", b"uptime 5"), ("apps", b"a\n\nb")]
        assert "maintenance" in frames.noise


def test_marks_of_others_and_answers_without_their_end_are_none() -> None:
    frames = Frames("n")
    forged = "@studio x end 1\n@studio n2 end 1\n @studio n end 1\n"
    (found,) = frames.feed(frame(("nvidia q", forged)))
    assert found.sections[0].text == forged.rstrip("\n")
    broken = Frames("n")
    assert list(broken.feed(b"\n@studio n begin 1\n\n@studio n host\nuptime 5\n")) == []
    assert broken.at == "host"
    (found,) = broken.feed(frame(("host", "uptime 6"), serial=2))
    assert (found.serial, [one.text for one in found.sections]) == (2, ["uptime 6"])


@pytest.mark.parametrize("piece", [b"x" * 65536, b"line\n" * 13000])
def test_an_answer_without_an_end_is_too_much_at_some_point(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "LONGEST", 1024 * 1024)
    frames = Frames("n")
    assert list(frames.feed(b"\n@studio n begin 1\n\n@studio n host\n")) == []
    with pytest.raises(TooMuch):
        for _ in range(1024 * 1024 // len(piece) + 2):
            list(frames.feed(piece))


@given(st.lists(st.one_of(st.binary(max_size=200), st.sampled_from([
    b"\n@studio n begin 1\n", b"\n@studio n end 1\n", b"\n@studio n host\nuptime 1e9\nMemTotal: 5\n", b"\n@studio n ",
    b"\n@studio n nvidia " + script.QUERIES[0].encode() + b"\n0, GPU-0, A, 590, [N/A], ERR!, 5, 1, 2, x, 0xff\n",
    b"\n@studio n process\n1 (vllm) S 1 " + b"1 " * 20 + b"\nvllm\0serve\0m\0--port\0", b"8000\0",
    b"\n@studio n answer 127.0.0.1:8000/metrics 5.0\nHTTP/1.1 200 OK\r\n\r\nvllm:num_requests_running 1e999\n",
    b"\n@studio n apps\nGPU-0, 1, [N/A]\n", b"\n@studio n amd\nclass/drm/card0/device/gpu_busy_percent 5\n",
])), max_size=12))  # fmt: skip
def test_nothing_that_a_host_sends_makes_a_reader_raise(pieces: list[bytes]) -> None:
    frames, view = Frames("n"), HostView(KINDS)
    for piece in pieces:
        for found in frames.feed(piece):
            overview = view.take(found)
            assert read_overview(json.loads(json.dumps(overview.to_json()))) == overview, (
                "it is told on as any overview"
            )
            assert all(" " not in one for one in view.asks())


@given(st.text(max_size=400), st.binary(max_size=400))
def test_no_section_makes_a_reader_raise(text: str, data: bytes) -> None:
    for columns in (COLUMNS, [""], []):
        read_nvidia(text, columns)
    read_amd(text), read_apps(text, {"GPU-0": 0}), read_pci(text)
    read_process(data, KINDS)
    read_answer(data)
    names = ("host", "nvidia", "amd", "pci", "apps", "parents", "process", "answer")
    HostView(KINDS).take(Frame(1, [Section(name, tuple(text.split()), data) for name in names]))


# --- GPUs ---------------------------------------------------------------------------------------------------


def test_gpus_are_read_as_nvidia_smi_prints_them() -> None:
    found = read_nvidia(gpu_text("h100_load", "h100_mig_load", "h200_idle", "rtx2080_idle", "rtx4080_load"), COLUMNS)
    assert (found.driver, found.error, found.failed) == ("590.48.01", "", False)
    assert [(one.name, one.utilization, one.temperature, one.slowed) for one in found.gpus] == [
        ("NVIDIA H100 80GB HBM3", 100.0, 59.0, ()),
        ("NVIDIA H100 80GB HBM3, MIG", None, 53.0, ()),
        ("NVIDIA H200", 0.0, 28.0, ()),
        ("NVIDIA GeForce RTX 2080 SUPER", 0.0, 40.0, ("power cap",)),
        ("NVIDIA GeForce RTX 4080 SUPER", 7.0, 46.0, ()),
    ]
    first = found.gpus[0]
    assert (first.memory_used, first.memory_total, first.power_draw) == (19818 * 1024**2, 81559 * 1024**2, 631.95)
    assert all(one.trouble == "" for one in found.gpus)


def test_values_that_nvidia_smi_does_not_have_are_unknown_and_no_trouble() -> None:
    for name in ("not_supported", "unknown_cell"):
        head, *lines = rows(name)
        columns = ["index", *(column.partition(" [")[0] for column in head)]
        for line in lines:
            (gpu,) = read_nvidia(", ".join(["0", *line]), columns).gpus
            assert gpu.trouble == ""
            assert (gpu.utilization, gpu.temperature) in ((0.0, 44.0), (100.0, 56.0))


def test_a_gpu_that_cannot_be_read_is_in_trouble() -> None:
    head, line = rows("requires_reset")
    (gpu,) = read_nvidia(", ".join(line), [column.partition(" [")[0] for column in head]).gpus
    assert (gpu.trouble, gpu.utilization, gpu.memory_used) == ("requires a reset", None, 0.0)
    (gpu,) = read_nvidia("0, GPU-0, NVIDIA A100, 535, ERR!, 5, 81920, ERR!, ERR!, Disabled, 0x0", COLUMNS).gpus
    assert gpu.trouble == "nvidia-smi reads ERR!"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("mismatch", "Failed to initialize NVML: Driver/library version mismatch NVML library version: 570.124"),
        ("no_driver", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
    ],
)
def test_a_driver_that_does_not_work_is_said_in_its_words_and_is_a_trouble(name: str, error: str) -> None:
    found = read_nvidia((FIXTURES / f"{name}.txt").read_text() + "\nrc 18\n", COLUMNS)
    assert found.error.startswith(error)
    assert (found.gpus, found.failed) == ((), True)
    overview = taken(HostView(KINDS), (f"nvidia {script.QUERIES[0]}", (FIXTURES / f"{name}.txt").read_text()))
    assert overview.trouble == "GPUs cannot be read"
    assert overview.gpu_error == found.error


def test_no_device_is_no_trouble_and_a_timeout_is_one() -> None:
    assert read_nvidia((FIXTURES / "no_devices.txt").read_text() + "\nrc 6", COLUMNS).failed is False
    assert read_nvidia("\nrc 124\n", COLUMNS).error == "nvidia-smi gave no answer within 10 s"
    assert read_nvidia("\nrc 3\n", COLUMNS).error == "nvidia-smi says nothing and ends with 3"


@pytest.mark.parametrize(("name", "words"), [
    ("lost", "lost, 0000:05:00.0: GPU is lost. Reboot the system to recover this GPU"),
    ("unknown_error", "lost, 0000:07:00.0: Unknown Error"),
])  # fmt: skip
def test_a_gpu_that_fell_off_the_bus_is_one_in_trouble(name: str, words: str) -> None:
    (gpu,) = read_nvidia((FIXTURES / f"{name}.txt").read_text(), COLUMNS).gpus
    assert " ".join(gpu.trouble.split()) == words


def test_of_two_gpus_of_which_one_is_lost_both_are_told() -> None:
    lost = (FIXTURES / "one_of_two_lost.txt").read_text().splitlines()[0]
    found = read_nvidia(f"{lost}\n" + gpu_text("h200_idle").replace("0, GPU-0", "1, GPU-1"), COLUMNS)
    assert [(one.index, bool(one.trouble), one.name) for one in found.gpus] == [
        (0, True, ""),
        (1, False, "NVIDIA H200"),
    ]


def test_amd_gpus_are_read_from_the_files_of_the_kernel() -> None:
    card = "class/drm/card{}/device"
    text = "\n".join(
        f"{card.format(at)}/{name} {value}"
        for at in (1, 0)
        for name, value in (
            ("gpu_busy_percent", 97), ("mem_info_vram_used", 60 * 1024**3), ("mem_info_vram_total", 192 * 1024**3),
            ("product_name", "AMD Instinct MI300X"), ("hwmon/hwmon3/power1_average", 612_000_000),
            ("hwmon/hwmon3/temp1_input", 61_000),
        )
    )  # fmt: skip
    found = read_amd(text)
    assert [one.index for one in found.gpus] == [0, 1]
    assert (found.gpus[0].name, found.gpus[0].power_draw, found.gpus[0].temperature) == (
        "AMD Instinct MI300X",
        612.0,
        61.0,
    )
    assert "driver is not installed" in read_pci("bus/pci/devices/0000:01:00.0/vendor 0x10de").error
    assert read_pci("bus/pci/devices/0000:00:02.0/vendor 0x8086").error == ""


# --- engines ------------------------------------------------------------------------------------------------


def process(pid: int, *argv: str, parent: int = 1, start: int = 1000, state: str = "S") -> str:
    fields = " ".join([state, str(parent), *["0"] * 17, str(start), "0", "0"])
    return f"{pid} (a ) b) {fields}\n" + "\0".join(argv) + "\0"


def test_engines_are_those_of_which_the_command_line_tells_and_their_parts_are_none() -> None:
    found = [
        read_process(process(*one).encode(), KINDS)
        for one in (
            (10, "/usr/bin/python3", "/opt/bin/vllm", "serve", "/models/qwen3-8b", "--port", "8001"),
            (12, "vim", "/opt/vllm/serve.py"),
        )
    ]
    part = read_process(process(11, "python3", "/opt/bin/vllm", "serve", "/models/qwen3-8b", "--port", "8001",
                                parent=10).encode(), KINDS)  # fmt: skip
    gone = read_process(process(13, "vllm", "serve", "m", state="Z").encode(), KINDS)
    assert gone is None and found[1] is None and found[0] is not None and part is not None
    (seen,) = without_parts([part, found[0]])
    assert (seen.pid, seen.name, seen.port, seen.address) == (10, "qwen3-8b", 8001, "127.0.0.1:8001")


@pytest.mark.parametrize(("host", "address"), [
    (None, "127.0.0.1:1"), ("0.0.0.0", "127.0.0.1:1"),  # noqa: S104
    ("::", "127.0.0.1:1"), ("10.0.0.5", "10.0.0.5:1"),
    ("::1", "[::1]:1"), ("169.254.169.254", ""), ("evil.example", ""), ("a b", ""), ("$(reboot)", ""),
    ("fe80::1%x", ""),
])  # fmt: skip
def test_an_engine_is_asked_only_at_an_address_of_a_host(host: str | None, address: str) -> None:
    assert address_of(host, 1) == address
    assert address_of(host, None) == ""


@pytest.mark.parametrize(("raw", "found"), [
    (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nx 1\n", (200, b"x 1\n")),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno", (404, b"no")),
    (b"HTTP/1.1 401\n\n", (401, b"")), (b"x 1\n", (200, b"x 1\n")), (b"\n", (None, b"\n")), (b"", (None, b"")),
])  # fmt: skip
def test_answers_over_http_are_read_however_they_were_fetched(raw: bytes, found: tuple[int | None, bytes]) -> None:
    assert read_answer(raw) == found


VLLM = process(100, "python3", "/opt/bin/vllm", "serve", "Qwen/Qwen3-8B", "--port", "8000", start=500)


def answers(tokens: int, at: float) -> tuple[str, str]:
    text = (
        'HTTP/1.1 200 OK\r\n\r\nvllm:num_requests_running{engine="0"} 3\nvllm:num_requests_waiting{engine="0"} 2\n'
        f'vllm:generation_tokens_total{{engine="0"}} {tokens}\n'
    )
    return f"answer 127.0.0.1:8000/metrics {at}", text


def test_an_engine_is_measured_by_the_clock_of_its_host_and_has_the_gpus_of_its_parts() -> None:
    view = HostView(KINDS)
    gpus = (f"nvidia {script.QUERIES[0]}", gpu_text("h100_load", "h100_load", "h200_idle"))
    apps = ("apps", "GPU-1, 103, 19000 MiB\nGPU-0, 102, [N/A]\nGPU-2, 999, 5 MiB")
    first = taken(view, ("host", "uptime 100.0\ncores 64\nload 3.2\nMemTotal: 2048\nMemAvailable: 1024\n"), gpus, apps,
                  ("parents", "  102 101\n103 101\n101 100\n999 1\n"), ("process", VLLM))  # fmt: skip
    (run,) = first.runs
    assert (run.name, run.state, run.gpus, run.running) == ("Qwen/Qwen3-8B", SEEN, ("0", "1"), None)
    assert run.since is not None and abs(time.time() - run.since - 95) < 5
    assert (first.cores, first.load, first.ram_used, first.ram_total) == (64, 3.2, 1024 * 1024, 2048 * 1024)
    assert view.asks() == ["127.0.0.1:8000/metrics"]
    taken(view, ("host", "uptime 103"), gpus, ("process", VLLM), answers(1000, 103.0))
    (run,) = taken(view, ("host", "uptime 105"), gpus, ("process", VLLM), answers(1500, 105.0)).runs
    assert (run.running, run.waiting, run.tokens_per_second) == (3, 2, 250.0)
    assert run.gpus == ("0", "1"), "what was asked for before holds"
    assert taken(view, ("host", "uptime 108"), gpus).runs == (), "it ended"


def test_an_engine_that_does_not_answer_is_left_out_for_a_while_and_one_that_refuses_is_said_so() -> None:
    view = HostView(KINDS)
    taken(view, ("process", VLLM))
    (run,) = taken(view, ("process", VLLM), ("answer 127.0.0.1:8000/metrics 5", "")).runs
    assert run.stage == "vLLM, port 8000, no answer there"
    rounds = 0
    while not view.asks():
        rounds += 1
        taken(view, ("process", VLLM))
    assert rounds == 5
    for status, words in (("401 No", "wants its key"), ("404 Not Found", "no /metrics"), ("500 Oh", "answers 500")):
        (run,) = taken(view, ("process", VLLM), ("answer 127.0.0.1:8000/metrics 5", f"HTTP/1.1 {status}\r\n\r\n")).runs
        assert run.stage == f"vLLM, port 8000, {words}"


def test_a_chain_of_parents_that_goes_round_ends() -> None:
    assert on_gpus(1000, {5: {0}}, {5: 6, 6: 5}) == ()


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("entry", "problem"), [
    ({"connect": "ssh://ada@box:2222"}, ""),
    ({"connect": "https://box:8080"}, "agentless: it is for ssh://[user@]host, without a key"),
    ({"connect": "ssh://box", "api_key": "env:K"}, "agentless: it is for ssh://[user@]host, without a key"),
    ({"connect": "ssh://box/opt/vllm-studio"}, "agentless: it takes no program in the address: ssh://[user@]host[:port]"),
])  # fmt: skip
def test_an_agentless_host_is_a_host_of_ssh(entry: dict[str, object], problem: str) -> None:
    assert made_of("box", {**entry, "agentless": True}).problem == problem
