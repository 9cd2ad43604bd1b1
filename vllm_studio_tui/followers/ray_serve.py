"""An application of Ray Serve: it is put beside those that run there already, and no other one is touched.

Serve takes one list of all applications and ends those that are not in it. So the list that it has is read, ours is put
in or taken out, and what is there afterwards is compared with what was there before.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import socket
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from vllm_studio_tui.domain.job import Cause, Phase
from vllm_studio_tui.followers import ray_look
from vllm_studio_tui.followers.ray_http import Dashboard, RayTrouble
from vllm_studio_tui.followers.ray_logs import ReplicaLogs
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble

APPLICATIONS = "/api/serve/applications/"
#: The handle is this and the name of the application, which is the id of the run.
PREFIX = "ray-serve:"
#: What Ray writes in place of a variable that it hides: such a list must not be sent back.
HIDDEN = "<redacted>"
#: Looks in a row without it, after which it is gone: Ray tells of no application too while it cannot ask Serve.
GONE, GONE_UNASKED = 2, 6
#: Seconds between two looks whether the nodes can still fetch our files, and that a connection may take.
KEEP_FILES, CONNECT = 60.0, 2.0
LOCK = "vllm-studio-{user}-ray-serve.lock"


class RayServe(System):
    """One application, named as the run, of the cluster behind `address`.

    Its plan: `address`, `application` (as Serve takes it, without files of ours), `files` (name to text) that its nodes
    import from, and `serve` (how Serve listens, where it does not run yet).
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._application: Mapping[str, Any] = job.plan.get("application") or {}
        self._name = job.handle.removeprefix(PREFIX) or str(self._application.get("name") or job.run_id)
        try:
            self._ray = Dashboard(str(job.plan.get("address") or ""), os.environ.get("RAY_AUTH_TOKEN", ""))
        except ValueError as error:
            raise SystemTrouble(Cause("ray_address", str(error), "Correct handover.address.", retry=False)) from None
        self._logs = ReplicaLogs(self._ray, job.memory)
        self._missing = 0
        self._kept = 0.0

    # --- submitting -------------------------------------------------------------------------------------

    def submit(self) -> str:
        """Put it into the list; where it is there already, another follower of this run did."""
        with self._alone():
            before = self._told()
            found = _applications(before).get(self._name)
            if found is None or found.get("status") == "DELETING":
                self._bring_files()
                wanted = {**self._application, **self._files()}
                self._send(before, [*self._others(before), wanted])
                self._compare(before)
        return f"{PREFIX}{self._name}"

    def _told(self) -> dict[str, Any]:
        """Return what Serve tells.

        Raises:
            SystemTrouble: Nothing.
        """
        try:
            told = self._ray.get(APPLICATIONS)
        except RayTrouble as trouble:
            raise SystemTrouble(_cause(trouble), passing=_passing(trouble)) from None
        if not isinstance(told, dict) or not isinstance(told.get("applications"), dict):
            raise SystemTrouble(Cause("ray_unknown", f"{self._ray.address} does not answer as Ray does"), passing=True)
        return told

    def _others(self, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the other applications as they were sent; those that a program deployed are in no list.

        Raises:
            SystemTrouble: One is not told as it was sent: sending it back would change it.
        """
        kept = []
        for name, one in _applications(told).items():
            config = one.get("deployed_app_config")
            if name == self._name or one.get("status") == "DELETING":
                continue
            if not isinstance(config, dict):
                if one.get("source") in (None, "imperative"):
                    continue
                config = {}
            if not config or HIDDEN in str(config):
                title = f"Ray does not tell how application {name} was deployed, and would end or change it"
                raise SystemTrouble(Cause("ray_hidden", title, "Look at its configuration in Ray."), passing=True)
            kept.append({**config, "name": name})
        return kept

    def _send(self, told: Mapping[str, Any], applications: list[Any]) -> None:
        body: dict[str, Any] = {"applications": applications}
        if told.get("controller_info"):
            body |= {key: told[key] for key in ("proxy_location", "http_options", "grpc_options") if told.get(key)}
        else:
            body |= dict(self.job.plan.get("serve") or {})
        if told.get("target_capacity") is not None:
            body["target_capacity"] = told["target_capacity"]
        try:
            self._ray.put(APPLICATIONS, body)
        except RayTrouble as trouble:
            passing = _passing(trouble)
            if passing or trouble.status in (401, 403):
                raise SystemTrouble(_cause(trouble), passing=passing) from None
            lines = [line.strip() for line in trouble.words.splitlines() if line.strip()]
            title = f"Ray Serve refuses it: {lines[-1][:300] if lines else trouble.words[:300]}"
            raise SystemTrouble(Cause("ray_refused", title, evidence=tuple(lines[-12:]), retry=False)) from None

    def _compare(self, before: Mapping[str, Any]) -> None:
        """Note what our list ended that it should not have: one that came in the moment between is told of."""
        with contextlib.suppress(SystemTrouble):
            after = _applications(self._told())
            known = _applications(before)
            hit = [name for name, one in after.items() if name not in known and one.get("status") == "DELETING"]
            hit += [name for name, one in known.items() if name not in after and one.get("status") != "DELETING"]
            hit = [name for name in hit if name != self._name]
            if hit:
                self.job.memory["hit"] = f"deployed at the same moment and ended by Ray: {', '.join(hit)[:200]}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of all runs of this user here only one changes the list at a time: Serve has no way to compare and swap."""
        with _lock_file() as lock:
            until = time.monotonic() + 30.0
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        words = "another run changes the applications of Ray Serve"
                        raise SystemTrouble(Cause("ray_busy", words), passing=True) from None
                    time.sleep(0.1)
            yield

    # --- files ------------------------------------------------------------------------------------------

    def _files(self) -> dict[str, Any]:
        """Return the part of the application that says where its nodes import from."""
        package = self._package()
        if package is None:
            return {}
        return {"runtime_env": {**(self._application.get("runtime_env") or {}), "working_dir": f"gcs://{package[0]}"}}

    def _package(self) -> tuple[str, bytes] | None:
        """Return name and bytes of our files as Ray keeps them; equal files have equal names."""
        files = self.job.plan.get("files")
        if not isinstance(files, Mapping) or not files:
            return None
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as box:
            for name in sorted(files):
                box.writestr(zipfile.ZipInfo(str(name)), str(files[name]))
        data = made.getvalue()
        return f"_ray_pkg_{hashlib.sha256(data).hexdigest()[:16]}.zip", data

    def _bring_files(self) -> None:
        """Have Ray keep our files, from which each node fetches them; what is there is not sent again.

        Raises:
            SystemTrouble: It does not take them.
        """
        package = self._package()
        if package is None:
            return
        path = f"/api/packages/gcs/{package[0]}"
        try:
            self._ray.ask("GET", path)
        except RayTrouble as trouble:
            if trouble.status != 404:
                raise SystemTrouble(_cause(trouble), passing=_passing(trouble)) from None
            try:
                self._ray.ask("PUT", path, package[1], "application/octet-stream", patience=60.0)
            except RayTrouble as refused:
                raise SystemTrouble(_cause(refused), passing=_passing(refused)) from None
        self._kept = time.monotonic()

    # --- looking ----------------------------------------------------------------------------------------

    def look(self) -> Look:
        told = self._told()
        found = _applications(told).get(self._name)
        if found is None:
            return self._not_there(told)
        self._missing = 0
        memory = self.job.memory
        look = ray_look.read(self._name, found, memory, self._nodes(found))
        self._logs.follow(ray_look.replicas(found))
        if look.phase is Phase.ENDED:
            return look
        if found.get("status") != "RUNNING" and time.monotonic() - self._kept > KEEP_FILES:
            # Ray forgets files that no replica uses: without them it could not start another one on a new node.
            with contextlib.suppress(SystemTrouble):
                self._bring_files()
        address, trouble = (None, "") if look.phase is Phase.WAITING else self._address(told)
        words = "; ".join(part for part in (look.trouble, trouble, str(memory.get("hit") or "")) if part)
        return Look(look.phase, look.state, look.stage, words, address, look.parts, look.cause, look.stopped)

    def _nodes(self, found: Mapping[str, Any]) -> Any:
        """Return what Ray tells of its nodes, where something is amiss; None: nothing is, or it does not tell."""
        if ray_look.whole(found):
            return None
        with contextlib.suppress(RayTrouble):
            return {
                "nodes": self._ray.get("/api/v0/nodes?detail=true&limit=1000"),
                "status": self._ray.get("/api/cluster_status"),
            }
        return None

    def _not_there(self, told: Mapping[str, Any]) -> Look:
        self._missing += 1
        if self._missing < (GONE if told.get("controller_info") else GONE_UNASKED):
            return Look(Phase.UNKNOWN, trouble="Ray Serve does not tell of it")
        if told.get("controller_info"):
            title, reason = "somebody else took it out of Ray Serve", "ray_removed"
        else:
            title, reason = "Ray Serve was shut down, or its cluster was started anew", "ray_gone"
        return Look(Phase.ENDED, "removed", cause=Cause(reason, title, "Launch it again.", retry=False))

    def _address(self, told: Mapping[str, Any]) -> tuple[tuple[str, int] | None, str]:
        """Return where Serve's proxy is reached from here, and what is wrong with that."""
        options = told.get("http_options") or {}
        port = options.get("port") if isinstance(options, Mapping) else None
        port = port if isinstance(port, int) else 8000
        hosts = ray_look.proxies(told)
        last = self.job.memory.get("proxy")
        # The last one stays as long as it is healthy; a node's own address may not be known here, as behind a tunnel.
        order = [host for host in hosts if host == last] + [host for host in hosts if host != last]
        order += [self._ray.host] if self._ray.host not in order else []
        for host in order[:16]:
            with contextlib.suppress(OSError), socket.create_connection((host, port), CONNECT):
                self.job.memory["proxy"] = host
                return (host, port), ""
        return None, f"Serve's proxy cannot be reached from here: {', '.join(order[:4])}, port {port}"

    # --- ending -----------------------------------------------------------------------------------------

    def stop(self, *, force: bool) -> bool:
        with self._alone():
            told = self._told()
            found = _applications(told).get(self._name)
            if found is None:
                self._missing += 1
                return bool(told.get("controller_info")) or self._missing >= GONE_UNASKED
            self._missing = 0
            self._logs.follow(ray_look.replicas(found))
            if found.get("status") != "DELETING":
                self._send(told, self._others(told))
        return False

    def log(self) -> bytes:
        return self._logs.read()


def _lock_file() -> IO[str]:
    """Open the file that is locked while the list is changed; where that cannot be, one of nobody else."""
    path = Path(tempfile.gettempdir()) / LOCK.format(user=os.getuid())
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+")
    except OSError:
        return tempfile.TemporaryFile("w+")


def _applications(told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = told.get("applications") or {}
    return {str(name): one for name, one in found.items() if isinstance(one, Mapping)}


def _passing(trouble: RayTrouble) -> bool:
    """Return whether it may go by: nobody answers, or Ray is busy with itself."""
    return trouble.status is None or trouble.status in (408, 429) or (trouble.status >= 500 and trouble.status != 501)


def _cause(trouble: RayTrouble) -> Cause:
    if trouble.status in (401, 403):
        advice = "Set RAY_AUTH_TOKEN where the studio is started, or in env_vars of the recipe as a reference."
        return Cause("ray_token", trouble.words, advice, retry=False)
    if trouble.status in (404, 405, 501):
        words = "this cluster has no Ray Serve, or its dashboard is not at that address"
        return Cause("ray_no_serve", words, "Ray needs `pip install 'ray[serve]'` on its head.", retry=False)
    if trouble.status is None:
        return Cause("ray_unreachable", trouble.words, "See that the dashboard can be reached from this machine.")
    return Cause("ray_trouble", f"Ray answers {trouble.status}: {trouble.words.splitlines()[-1][:300]}")
