"""Stop a run: the leader first, then the whole tree, then by force; check that it worked."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from enum import IntEnum

from vllm_studio_tui.domain.spec import Stop
from vllm_studio_tui.keeper.engine import Engine, kill
from vllm_studio_tui.keeper.tree import Tree

#: After SIGKILL a process can only survive inside the kernel; it is named then, not waited for.
KILL_GRACE = 10.0
#: Seconds that a leader has which ends what runs elsewhere, when it is told to hurry.
FORCED = 20.0


def _run(argv: tuple[str, ...]) -> subprocess.Popen[bytes] | None:
    """Return the program that ends a container; None where there is none, or where it cannot be run."""
    if not argv:
        return None
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        return None


class Phase(IntEnum):
    LEADER = 0
    TREE = 1
    KILL = 2
    DONE = 3


class Stopping:
    """The phases of a stop. `step` is called often and does what is due."""

    def __init__(
        self,
        policy: Stop,
        engine: Engine | None,
        tree: Tree,
        now: float,
        stop_argv: tuple[str, ...] = (),
        *,
        elsewhere: Callable[[], bool] | None = None,
    ) -> None:
        """Begin to stop.

        Args:
            stop_argv: What ends it where a signal to its leader does not.
            elsewhere: The leader only follows what runs elsewhere, and ends it when it is told to; returns whether
                something of that is still to be ended. Where the leader died over it, `stop_argv` ends it.
        """
        self._policy, self._gentle = policy, elsewhere is not None
        self._elsewhere, self._stop_argv = elsewhere, stop_argv
        self._engine = engine
        self._tree = tree
        self._next_kill = 0.0
        self._stopper_until = 0.0
        self.left: list[str] = []
        self._stopper: subprocess.Popen[bytes] | None = None
        if elsewhere is None:
            self._run_stopper()
        if engine is not None and not engine.ended():
            self.phase, self._deadline = Phase.LEADER, now + policy.leader_grace
            if self._stopper is None:
                engine.signal(policy.first_signal)
        else:
            self._enter_tree(now)

    def _run_stopper(self) -> None:
        self._stopper = _run(self._stop_argv)
        if self._stopper is not None:
            self._tree.exempt(self._stopper.pid)

    def force(self, now: float) -> None:
        """Send SIGKILL at once, for somebody who will not wait."""
        if self.phase is Phase.LEADER and self._gentle and self._engine is not None:
            self._gentle = False
            self._engine.signal(self._policy.first_signal)
            self._deadline = min(self._deadline, now + FORCED)
            self._stop_argv = (*self._stop_argv, "--force")
        elif self.phase < Phase.KILL:
            self._enter_kill(now)

    def step(self, now: float) -> bool:
        """Do what is due; True when nothing of the run is alive, or nothing more can be done."""
        if self.phase is Phase.LEADER:
            leader_gone = self._engine is None or self._engine.ended()
            if leader_gone or now >= self._deadline:
                if not leader_gone and self._elsewhere is not None:
                    self._stop_argv = ()  # it had its time, and another try has no better chance
                self._enter_tree(now)
        if self.phase is Phase.TREE:
            if not self._tree.look(environments=True):
                self.phase = Phase.DONE
            elif now >= self._deadline:
                self._enter_kill(now)
        if self.phase is Phase.KILL:
            members = self._tree.look(environments=True)
            if not members:
                self.phase = Phase.DONE
            elif now >= self._deadline:
                self.left = [f"{one.pid} {one.name}" for one in members]
                self.phase = Phase.DONE
            elif now >= self._next_kill:  # what was being born while we killed is caught the next time
                self._tree.kill()
                self._next_kill = now + 0.2
        return self.phase is Phase.DONE and self._stopped(now)

    def _stopped(self, now: float) -> bool:
        """Return whether the program that ends a container has ended itself; it is not waited for without end."""
        if self._elsewhere is not None and self._stop_argv and self._elsewhere():
            self._run_stopper()
            self._stop_argv = ()
        if self._stopper is None or self._stopper.poll() is not None:
            return True
        self._stopper_until = self._stopper_until or now + self._policy.leader_grace + KILL_GRACE
        if now < self._stopper_until:
            return False
        kill(self._stopper)
        self._stopper = None
        return True

    def _enter_tree(self, now: float) -> None:
        self.phase, self._deadline = Phase.TREE, now + self._policy.tree_grace
        self._tree.signal(signal.SIGTERM)

    def _enter_kill(self, now: float) -> None:
        self.phase, self._deadline, self._next_kill = Phase.KILL, now + KILL_GRACE, now
