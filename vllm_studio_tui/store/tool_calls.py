"""Calls of tools: each is on record before it is made, so that none is made twice, whatever ends its program.

A round is begun in the transaction that keeps the answer with the calls: one row and one message, to be filled with the
result, for each. What a program that is gone left open is closed by `settle`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.store.conversion import storable
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import PROGRAM_ENDED, MessageRows, lease, lease_holds

#: What the model is told of a call whose program was gone before it was made, and while it was made.
NEVER_MADE = "This call was not made: the program ended before."
UNKNOWN = "What came of this call is not known: the program ended while it was made. It is not made again."


class ToolCallRows:
    """The table `tool_calls`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._messages = MessageRows(db)

    def begin_round(self, answer: Message, results: Sequence[Message], number: int) -> None:
        """Put the calls of an answer on record, with the messages that will hold their results, one below the other."""
        owner, moment = lease(), time.time()
        with self._db.write() as tables:
            for call, result in zip(answer.tool_calls, results, strict=True):
                self._messages.append(result)
                tables.table("tool_calls").insert(
                    {
                        "message_id": answer.id,
                        "call_id": storable(call.id),
                        "session_id": answer.session_id,
                        "round": number,
                        "name": storable(call.name),
                        "arguments": storable(call.arguments),
                        "state": "waiting",
                        "decided": None,
                        "asked_at": moment,
                        "began_at": None,
                        "ended_at": None,
                        "owner": owner,
                    }
                )

    def reopen(self, answer_id: str, call_id: str, result_id: str) -> bool:
        """Let a call wait again that was never made, with the message of its result; False where it may not.

        That is so where it was made, where a person decided on it, and where somebody else has reopened it.
        """
        with self._db.write() as tables:
            done = tables.execute(
                "UPDATE tool_calls SET state = 'waiting', owner = ?, asked_at = ?, ended_at = NULL"
                " WHERE message_id = ? AND call_id = ? AND state = 'denied' AND began_at IS NULL AND decided IS NULL",
                (lease(), time.time(), answer_id, storable(call_id)),
            )
            if done.rowcount > 0:
                self._messages.reopen(result_id)
            return done.rowcount > 0

    def start(self, answer_id: str, call_id: str, decided: str | None, arguments: str) -> bool:
        """Note that a call is made now; False if it may not be, as it was made or settled before.

        Args:
            decided: What a person said; None: nobody was asked.
        """
        with self._db.write() as tables:
            done = tables.execute(
                "UPDATE tool_calls SET state = 'running', decided = ?, arguments = ?, began_at = ?"
                " WHERE message_id = ? AND call_id = ? AND state = 'waiting'",
                (decided, storable(arguments), time.time(), answer_id, storable(call_id)),
            )
            return done.rowcount > 0

    def end(self, answer_id: str, call_id: str, state: str, result: Message, decided: str | None = None) -> bool:
        """Note how a call ended, and keep its result; False if it was settled or its chat deleted meanwhile."""
        with self._db.write() as tables:
            done = tables.execute(
                "UPDATE tool_calls SET state = ?, decided = COALESCE(decided, ?), ended_at = ?, owner = NULL"
                " WHERE message_id = ? AND call_id = ? AND state IN ('waiting', 'running')",
                (state, decided, time.time(), answer_id, storable(call_id)),
            )
            return done.rowcount > 0 and self._messages.finish(result)

    def of_answer(self, answer_id: str) -> list[dict[str, Any]]:
        """Return what is on record of the calls of an answer."""
        found = self._db.rows("SELECT * FROM tool_calls WHERE message_id = ? ORDER BY asked_at", (answer_id,))
        return [dict(row) for row in found]

    def settle(self, *, at: float | None = None, patience: float | None = None) -> int:
        """Close the calls of programs that are gone, and return how many. None of them is made again."""
        at = time.time() if at is None else at
        if self._db.read_only or not self._without_lease(at):
            return 0
        with self._db.write(patience=patience) as tables:
            dead = self._without_lease(at)
            for row in dead:
                made = row["state"] == "running"
                tables.execute(
                    "UPDATE tool_calls SET state = ?, ended_at = ?, owner = NULL WHERE message_id = ? AND call_id = ?",
                    ("unknown" if made else "denied", at, row["message_id"], row["call_id"]),
                )
                self._fill(row["session_id"], row["call_id"], made=made)
        return len(dead)

    def _fill(self, session_id: str, call_id: str, *, made: bool) -> None:
        """Say in the message of a result that none will come."""
        found = self._db.rows(
            "SELECT id FROM chat_messages"
            " WHERE session_id = ? AND tool_call_id = ? AND role = 'tool' AND finish = 'streaming'",
            (session_id, call_id),
        )
        for row in found:
            message = self._messages.get(row["id"])
            call = {**dict(message.details.get("call") or {}), "how": "unknown" if made else "denied"}
            said = UNKNOWN if made else NEVER_MADE
            details = {**message.details, "call": call}
            self._messages.finish(
                replace(message, content=said, finish="interrupted", error=PROGRAM_ENDED, details=details)
            )

    def _without_lease(self, at: float) -> list[Any]:
        found = self._db.rows("SELECT * FROM tool_calls WHERE state IN ('waiting', 'running')")
        return [row for row in found if not lease_holds(row["owner"], row["began_at"] or row["asked_at"], at=at)]
