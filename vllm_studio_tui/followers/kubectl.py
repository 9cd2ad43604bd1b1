"""`kubectl`, asked with a limit of time: what it answers, and in words why it does not."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.job import Cause
from vllm_studio_tui.followers.system import SystemTrouble

#: Who owns the fields that were applied, as `kubectl get -o yaml --show-managed-fields` says.
MANAGER = "vllm-studio"
#: Seconds that the API server has to answer, and that kubectl itself may take.
ASKED, PATIENCE = 10, 25
#: Bytes of an answer beyond which it is not read.
MOST = 64 << 20
#: What kubectl says where nobody answers, or an answer is of no use for now.
_PASSING = re.compile(
    r"connection to the server .* was refused|Unable to connect to the server|no such host|i/o timeout|TLS handshake"
    r"|context deadline exceeded|connection reset|EOF$|net/http: request canceled|etcdserver:|Too Many Requests"
    r"|the server is currently unable|ServiceUnavailable|InternalError|too many requests|connection refused"
    r"|apiserver not ready|request timed out|Timeout|no route to host|network is unreachable",
)
_UNKNOWN_KIND = re.compile(
    r"no matches for kind \"(\w+)\"|the server doesn't have a resource type \"([\w.]+)\""
    r"|could not find the requested resource \(\w+ ([\w.]+?)\.[\w.-]+ "
)


class Kubectl:
    """Runs kubectl for one context and namespace."""

    def __init__(self, program: str, context: str = "", namespace: str = "") -> None:
        self.program = program
        self.context, self.namespace = context, namespace

    def words(self, *words: str) -> list[str]:
        """Return the command line of a call."""
        where = [*(["--context", self.context] if self.context else [])]
        where += ["--namespace", self.namespace] if self.namespace else []
        return [self.program, *where, *words]

    def ask(self, *words: str, given: Any = None, env: Mapping[str, str] | None = None) -> str:
        """Return what kubectl answers.

        Args:
            given: What it reads as JSON.

        Raises:
            SystemTrouble: It refuses, or nobody answers.
        """
        call = self.words(f"--request-timeout={ASKED}s", *words)
        data = json.dumps(given).encode() if given is not None else None
        try:
            done = subprocess.run(
                call,
                input=data,
                stdin=subprocess.DEVNULL if data is None else None,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
                env=dict(env) if env is not None else None,
            )
        except FileNotFoundError:
            raise SystemTrouble(NO_KUBECTL) from None
        except subprocess.TimeoutExpired:
            raise silent(f"kubectl did not end within {PATIENCE} s") from None
        except OSError as error:
            raise silent(f"kubectl cannot be run: {error.strerror or error}") from None
        if done.returncode:
            raise trouble(done.stderr.decode(errors="replace"))
        return done.stdout[:MOST].decode(errors="replace")

    def items(self, *words: str) -> list[dict[str, Any]]:
        """Return the objects that kubectl answers with.

        Raises:
            SystemTrouble: It refuses, nobody answers, or the answer is none.
        """
        answer = self.ask(*words, "-o", "json")
        try:
            found = json.loads(answer) if answer.strip() else {}
        except ValueError:
            raise silent("kubectl answered with something that is no JSON") from None
        if not isinstance(found, dict):
            return []
        listed = found.get("items") if isinstance(found.get("items"), list) else [found] if found.get("kind") else []
        return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


NO_KUBECTL = Cause(
    "no_kubectl",
    "kubectl is not installed here",
    "Install it, and look with `kubectl get nodes` that it finds the cluster.",
)


def silent(words: str) -> SystemTrouble:
    """Return the trouble of a system that does not answer."""
    return SystemTrouble(Cause("no_answer", f"Kubernetes does not answer: {words}"), passing=True)


def trouble(said: str) -> SystemTrouble:
    """Return the trouble of what kubectl said on its way out."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # Lines of its own log (E1128 10:49:18.1..) come before what it says to people.
    told = [line for line in lines if not re.match(r"[EWI]\d{4} \d\d:", line)] or lines or ["no reason"]
    words = " ".join(told)[:1500]
    if _PASSING.search(words):
        return silent(told[-1][:300])
    kind = _UNKNOWN_KIND.search(words)
    if kind is not None:
        name = kind[1] or kind[2] or kind[3]
        advice = "Install it: https://lws.sigs.k8s.io/docs/installation" if "eader" in name else "Ask who runs it."
        return SystemTrouble(Cause("unknown_kind", f"the cluster has no {name}", advice, tuple(told[:5]), retry=False))
    if "Forbidden" in words or "forbidden" in words:
        advice = "Your account lacks the right, or a quota is used up: the lines say which."
        return SystemTrouble(
            Cause("forbidden", f"Kubernetes refuses it: {told[0][:300]}", advice, tuple(told[:5]), False)
        )
    if "Unauthorized" in words or "must be logged in" in words:
        advice = "Log in again, as `kubectl get pods` must work here."
        return SystemTrouble(
            Cause("unauthorized", "Kubernetes does not know you", advice, tuple(told[:5])), passing=True
        )
    return SystemTrouble(Cause("refused", f"Kubernetes refuses it: {told[0][:300]}", "", tuple(told[:8]), retry=False))


class Stream:
    """A program that goes on: its output is read as it comes, and it ends with us."""

    def __init__(self, call: Sequence[str], *, both: bool = True, env: Mapping[str, str] | None = None) -> None:
        """Start it.

        Args:
            both: Its errors are read with its output; else they are thrown away.
            env: Its variables; None: ours.

        Raises:
            OSError: It cannot be started.
        """
        self._process = subprocess.Popen(
            list(call),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.DEVNULL,
            env=dict(env) if env is not None else None,
            preexec_fn=_end_with_parent,  # one call, of what is loaded already
        )
        assert self._process.stdout is not None
        self._end = self._process.stdout.fileno()
        os.set_blocking(self._end, False)

    def read(self, most: int) -> bytes:
        """Return what has come; nothing where there is no more for now."""
        found = b""
        while len(found) < most:
            try:
                piece = os.read(self._end, most - len(found))
            except BlockingIOError:
                break
            except OSError:
                break
            if not piece:
                break
            found += piece
        return found

    @property
    def alive(self) -> bool:
        """Return whether it goes on."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Return its exit code; None: it goes on."""
        return self._process.poll()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


#: `prctl` of this system, loaded before a fork; None where there is none.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that ends; nothing where there is no such call."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
