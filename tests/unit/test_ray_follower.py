"""The follower's side of Ray Serve against a server that answers as its dashboard does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from vllm_studio_tui.domain.job import Phase
from vllm_studio_tui.followers import ray_logs, ray_serve
from vllm_studio_tui.followers.ray_serve import GONE, GONE_UNASKED, RayServe
from vllm_studio_tui.followers.system import Job, SystemTrouble


class Dashboard(ThreadingHTTPServer):
    """Answers as Ray's dashboard does, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.applications: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, bytes] = {}
        self.logs: dict[str, bytes] = {}
        self.controller = {"node_ip": "127.0.0.1"}
        self.more: dict[str, Any] = {}
        self.puts: list[dict[str, Any]] = []
        self.token = ""
        self.refusal: tuple[int, str] | None = None
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def other(self, name: str, **more: Any) -> None:
        config = {"route_prefix": f"/{name}", "import_path": "m:app", "runtime_env": {"env_vars": {"KEY": "value"}}}
        self.applications[name] = {
            "status": "RUNNING", "source": "declarative", "deployed_app_config": {"name": name, **config},
            "deployments": {}, **more,
        }  # fmt: skip

    def take(self, body: dict[str, Any]) -> None:
        self.puts.append(body)
        sent = {one["name"]: one for one in body["applications"]}
        for name, one in self.applications.items():
            if name not in sent and one["source"] == "declarative":
                one["status"] = "DELETING"
        for name, one in sent.items():
            if name not in self.applications or self.applications[name]["deployed_app_config"] != one:
                self.applications[name] = {
                    "status": "DEPLOYING", "source": "declarative", "deployed_app_config": one, "deployments": {},
                }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Dashboard

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, data: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        ray, parts = self.server, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        package = parts.path.removeprefix("/api/packages/gcs/")
        if "Mozilla" in self.headers.get("User-Agent", ""):
            return self._answer(500, b"a browser is not told all")
        if ray.token and self.headers.get("Authorization") != f"Bearer {ray.token}":
            return self._answer(401, b"Unauthorized")
        if self.command == "PUT" and parts.path == ray_serve.APPLICATIONS:
            if ray.refusal is not None:
                return self._answer(ray.refusal[0], ray.refusal[1].encode())
            ray.take(json.loads(body))
            return self._answer(200)
        if self.command == "PUT":
            ray.packages[package] = body
            return self._answer(200)
        if parts.path == ray_serve.APPLICATIONS:
            told = {"controller_info": ray.controller, "applications": ray.applications, "proxies": {}, **ray.more}
            return self._answer(200, json.dumps(told).encode())
        if package != parts.path:
            return self._answer(200 if package in ray.packages else 404)
        if parts.path == "/api/v0/logs/file":
            query = {key: one[0] for key, one in parse_qs(parts.query).items()}
            text = ray.logs.get(f"{query['actor_id']}.{query['suffix']}", b"")
            return self._answer(200, b"".join(text.splitlines(True)[-int(query["lines"]) :]))
        return self._answer(404)

    do_GET = do_PUT = _serve  # noqa: N815 - names of the library


@pytest.fixture
def ray() -> Iterator[Dashboard]:
    one = Dashboard()
    try:
        yield one
    finally:
        one.shutdown()
        one.server_close()


def follow(ray: Dashboard, folder: Path, **job: Any) -> RayServe:
    application = {"name": "run-1", "route_prefix": "/run-1", "import_path": "vllm_studio_engine:build"}
    plan = {
        "kind": "ray-serve",
        "address": ray.address,
        "application": application,
        "files": {"vllm_studio_engine.py": "x = 1\n"},
        "serve": {"proxy_location": "EveryNode", "http_options": {"port": 8000}},
    }
    place = folder / "run-1"
    place.mkdir(exist_ok=True)
    return RayServe(Job(place, "run-1", plan, **job))


def test_it_is_put_beside_the_others_which_are_sent_back_as_they_were(ray: Dashboard, tmp_path: Path) -> None:
    ray.other("theirs")
    ray.other("by-program", source="imperative", deployed_app_config=None)
    ray.other("leaving", status="DELETING")
    ray.more = {"target_capacity": 50.0, "proxy_location": "HeadOnly", "http_options": {"port": 8123}}
    theirs = dict(ray.applications["theirs"]["deployed_app_config"])
    assert follow(ray, tmp_path).submit() == "ray-serve:run-1"
    (sent,) = ray.puts
    assert [one["name"] for one in sent["applications"]] == ["theirs", "run-1"]
    assert sent["applications"][0] == theirs
    assert (sent["target_capacity"], sent["proxy_location"], sent["http_options"]) == (50.0, "HeadOnly", {"port": 8123})
    (package,) = ray.packages
    assert sent["applications"][1]["runtime_env"] == {"working_dir": f"gcs://{package}"}


def test_a_submission_that_is_repeated_changes_nothing(ray: Dashboard, tmp_path: Path) -> None:
    follow(ray, tmp_path).submit()
    assert follow(ray, tmp_path).submit() == "ray-serve:run-1"
    assert len(ray.puts) == 1 and len(ray.packages) == 1


def test_where_serve_does_not_run_yet_it_is_told_how_to_listen(ray: Dashboard, tmp_path: Path) -> None:
    ray.controller = {}
    follow(ray, tmp_path).submit()
    assert ray.puts[0]["proxy_location"] == "EveryNode" and ray.puts[0]["http_options"]["port"] == 8000


@pytest.mark.parametrize(
    "config", [None, {"name": "theirs", "runtime_env": {"env_vars": {"KEY": "<redacted>"}}}], ids=["none", "hidden"]
)
def test_nothing_is_sent_where_another_would_be_ended_or_changed(ray: Dashboard, tmp_path: Path, config: Any) -> None:
    ray.other("theirs", deployed_app_config=config)
    with pytest.raises(SystemTrouble, match="theirs") as refused:
        follow(ray, tmp_path).submit()
    assert refused.value.passing and not ray.puts


def test_one_that_came_in_the_moment_between_and_was_ended_is_told_of(ray: Dashboard, tmp_path: Path) -> None:
    take = ray.take

    def late(body: dict[str, Any]) -> None:
        ray.other("late")
        take(body)

    ray.take = late  # type: ignore[method-assign]
    one = follow(ray, tmp_path)
    one.submit()
    assert "ended by Ray: late" in one.look().trouble


def test_a_refusal_is_its_last_line_and_final(ray: Dashboard, tmp_path: Path) -> None:
    ray.refusal = (400, "Traceback ..\nValueError: Prefix /run-1 is being used by application other")
    with pytest.raises(SystemTrouble) as refused:
        follow(ray, tmp_path).submit()
    assert not refused.value.passing
    assert refused.value.cause.title.endswith("ValueError: Prefix /run-1 is being used by application other")


@pytest.mark.parametrize(("status", "passing"), [(503, True), (500, True), (404, False), (501, False)])
def test_what_may_go_by_is_tried_again(ray: Dashboard, tmp_path: Path, status: int, passing: bool) -> None:
    ray.refusal = (status, "no")
    with pytest.raises(SystemTrouble) as refused:
        follow(ray, tmp_path).submit()
    assert refused.value.passing is passing


def test_the_token_is_sent_and_its_lack_is_said(
    ray: Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.token = "secret-of-the-cluster"
    with pytest.raises(SystemTrouble, match="asks for a token") as refused:
        follow(ray, tmp_path).submit()
    assert not refused.value.passing and "secret" not in str(refused.value.cause)
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray.token)
    assert follow(ray, tmp_path).submit()


def test_no_answer_is_no_end(ray: Dashboard, tmp_path: Path) -> None:
    one = follow(ray, tmp_path, handle="ray-serve:run-1")
    ray.shutdown()
    ray.server_close()
    for _ in range(GONE_UNASKED + 2):
        with pytest.raises(SystemTrouble, match="Ray does not answer") as told:
            one.look()
        assert told.value.passing
    with pytest.raises(SystemTrouble):
        one.stop(force=True)


def test_what_is_not_there_for_one_look_is_not_gone(ray: Dashboard, tmp_path: Path) -> None:
    one = follow(ray, tmp_path)
    one.submit()
    mine = ray.applications.pop("run-1")
    assert [one.look().phase for _ in range(GONE)] == [Phase.UNKNOWN] * (GONE - 1) + [Phase.ENDED]
    ray.applications["run-1"] = mine
    assert one.look().phase is not Phase.ENDED
    # Ray tells of no application at all while its dashboard cannot ask Serve: that takes longer to believe.
    ray.controller, ray.applications = {}, {}
    looks = [one.look() for _ in range(GONE_UNASKED)]
    assert [look.phase for look in looks] == [Phase.UNKNOWN] * (GONE_UNASKED - 1) + [Phase.ENDED]
    assert looks[-1].cause is not None and looks[-1].cause.reason == "ray_gone"


def test_what_somebody_removed_is_said_to_be(ray: Dashboard, tmp_path: Path) -> None:
    one = follow(ray, tmp_path, handle="ray-serve:run-1")
    looks = [one.look() for _ in range(GONE)]
    assert looks[-1].cause is not None and looks[-1].cause.reason == "ray_removed"


def test_it_alone_is_taken_out_and_waited_for(ray: Dashboard, tmp_path: Path) -> None:
    ray.other("theirs")
    one = follow(ray, tmp_path)
    one.submit()
    assert one.stop(force=False) is False
    assert [item["name"] for item in ray.puts[-1]["applications"]] == ["theirs"]
    assert one.stop(force=False) is False and len(ray.puts) == 2, "it is told once"
    del ray.applications["run-1"]
    assert one.stop(force=False) is True
    assert ray.applications["theirs"]["status"] == "RUNNING"


def test_the_proxy_is_where_it_can_be_reached(ray: Dashboard, tmp_path: Path) -> None:
    one = follow(ray, tmp_path)
    one.submit()
    replica = {"replica_id": "r", "state": "RUNNING", "node_ip": "127.0.0.1", "actor_id": "a"}
    ray.applications["run-1"] |= {"status": "RUNNING", "deployments": {"engine": {"replicas": [replica]}}}
    # The stand-in's own port takes connections; a node's address that is not reached from here is passed over.
    ray.more = {
        "http_options": {"port": ray.server_port},
        "proxies": {
            "a": {"node_ip": "127.0.0.2", "status": "UNHEALTHY"},
            "b": {"node_ip": "127.0.0.1", "status": "HEALTHY"},
        },
    }
    assert one.look().address == ("127.0.0.1", ray.server_port)
    ray.more["http_options"] = {"port": 1}
    look = one.look()
    assert look.address is None and "Serve's proxy cannot be reached from here: 127.0.0.1, port 1" in look.trouble


# --- logs ---------------------------------------------------------------------------------------------------


def read_all(one: RayServe) -> bytes:
    for file in one._logs.files.values():
        file.due = min(file.due, 0.0)
    return b"".join(iter(one.log, b""))


def test_logs_are_passed_on_once_and_go_on_after_the_next_follower(ray: Dashboard, tmp_path: Path) -> None:
    one = follow(ray, tmp_path)
    one.submit()
    replica = {"replica_id": "r1", "state": "RUNNING", "node_ip": "n", "actor_id": "a1"}
    engine = {"replicas": [replica]}
    ray.applications["run-1"] |= {"status": "RUNNING", "deployments": {"engine": engine}}
    ray.logs["a1.err"] = b"loading\nsame\nsame\nhal"
    one.look()
    assert read_all(one) == b"loading\nsame\nsame\n"
    assert read_all(one) == b""
    ray.logs["a1.err"] += b"f\nsame\n"
    assert read_all(one) == b"half\nsame\n"
    ray.logs["a1.err"] += b"later\n"
    following = follow(ray, tmp_path, handle="ray-serve:run-1", memory=json.loads(json.dumps(one.job.memory)))
    following.look()
    assert read_all(following) == b"later\n"
    # A second replica: each line says whose it is.
    engine["replicas"] = [replica, {**replica, "replica_id": "r2", "actor_id": "a2"}]
    ray.logs["a2.out"] = b"hello\n"
    following.look()
    assert read_all(following) == b"[engine r2] hello\n"


def test_a_log_that_grew_by_more_than_is_asked_for_goes_on_with_its_end(ray: Dashboard, tmp_path: Path) -> None:
    one = follow(ray, tmp_path)
    one.submit()
    replica = {"replica_id": "r1", "state": "RUNNING", "node_ip": "n", "actor_id": "a1"}
    ray.applications["run-1"] |= {"status": "RUNNING", "deployments": {"engine": {"replicas": [replica]}}}
    ray.logs["a1.out"] = b"".join(b"%d\n" % number for number in range(ray_logs.LINES))
    one.look()
    assert read_all(one) == ray.logs["a1.out"]
    more = b"".join(b"%d\n" % number for number in range(ray_logs.LINES, ray_logs.LINES + 7))
    ray.logs["a1.out"] += more
    assert read_all(one) == more
    ray.logs["a1.out"] += b"again\n" * 3 * ray_logs.LINES
    assert read_all(one) == ray_logs.SKIPPED + b"\n" + b"again\n" * ray_logs.LINES
