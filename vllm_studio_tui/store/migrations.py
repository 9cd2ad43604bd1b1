"""The migrations from one schema to the next, run by sqlite-utils. Loaded only when one is pending."""

from __future__ import annotations

import os
import sqlite3

from sqlite_utils.db import Database as Tables
from sqlite_utils.migrations import Migrations

from vllm_studio_tui.kit.paths import machine_id
from vllm_studio_tui.store import pictures
from vllm_studio_tui.store.conversion import from_json
from vllm_studio_tui.store.schema import (
    ALERT_MACHINES,
    ALERTS,
    BENCHMARKS,
    CHAT_IMPORTS,
    CHAT_MARKS,
    CHAT_PICTURES,
    CHAT_TOOLS,
    GATEWAY_CALLS,
    MEMORY_REPORTS,
    MIGRATION_SET,
    RECIPE_REVISIONS,
    REQUEST_LEASE,
    RUN_LEDGER,
    SERVING,
    TABLES,
    TIMELINE,
)

migrations = Migrations(MIGRATION_SET)


@migrations(name="0001_tables")
def tables(db: Tables) -> None:
    """Create the tables of the first version."""
    for statement in TABLES:
        db.execute(statement)


@migrations(name="0002_run_ledger")
def run_ledger(db: Tables) -> None:
    """Add recipe, revision, engine and stages to runs."""
    for statement in RUN_LEDGER:
        db.execute(statement)


@migrations(name="0003_request_lease")
def request_lease(db: Tables) -> None:
    """Add the lease of the process that reads an answer, and which tokens are estimates."""
    for statement in REQUEST_LEASE:
        db.execute(statement)


@migrations(name="0004_recipe_revisions")
def recipe_revisions(db: Tables) -> None:
    """Add the forms that recipes had, beginning with what they are, and which of them a run was launched with."""
    for statement in RECIPE_REVISIONS:
        db.execute(statement)


@migrations(name="0005_serving")
def serving(db: Tables) -> None:
    """Add what is known of requests of other programs, and the keys of those programs."""
    for statement in SERVING:
        db.execute(statement)


@migrations(name="0006_gateway_calls")
def gateway_calls(db: Tables) -> None:
    """Add what the gateway saw of requests."""
    for statement in GATEWAY_CALLS:
        db.execute(statement)


@migrations(name="0007_chat_tools")
def chat_tools(db: Tables) -> None:
    """Add what chats hold besides text: files, tools and their calls, marks, prompts of the library, votes."""
    for statement in CHAT_TOOLS:
        db.execute(statement)


def apply(connection: sqlite3.Connection) -> None:
    """Run the pending migrations, each in a transaction of its own.

    Raises:
        sqlite3.Error: A step failed; it left nothing behind.
    """
    migrations.apply(Tables(connection, execute_plugins=False))


@migrations(name="0008_chat_marks")
def chat_marks(db: Tables) -> None:
    """Add indexes of the messages that were taken away or marked, and of the chats that are pinned."""
    for statement in CHAT_MARKS:
        db.execute(statement)


@migrations(name="0009_chat_imports")
def chat_imports(db: Tables) -> None:
    """Add what chats are known by that were taken in from files."""
    for statement in CHAT_IMPORTS:
        db.execute(statement)


@migrations(name="0010_chat_pictures")
def chat_pictures(db: Tables) -> None:
    """Keep the bytes of each picture once, in place of its data URL in each message."""
    for statement in CHAT_PICTURES:
        db.execute(statement)
    found = db.execute("SELECT seq FROM chat_messages WHERE images IS NOT NULL").fetchall()
    for (seq,) in found:  # one after the other: each may have megabytes
        (text,) = db.execute("SELECT images FROM chat_messages WHERE seq = ?", (seq,)).fetchone()
        named = pictures.keep(db, [str(one) for one in from_json(text, list)])
        db.execute("UPDATE chat_messages SET images = ? WHERE seq = ?", (named, seq))


@migrations(name="0011_memory_reports")
def memory_reports(db: Tables) -> None:
    """Add what engines said of their memory when they started."""
    for statement in MEMORY_REPORTS:
        db.execute(statement)


@migrations(name="0012_timeline")
def timeline(db: Tables) -> None:
    """Add pinned moments, and an index of the moves of runs by time."""
    for statement in TIMELINE:
        db.execute(statement)


@migrations(name="0013_benchmarks")
def benchmarks(db: Tables) -> None:
    """Add benchmarks, and what was measured of their requests."""
    for statement in BENCHMARKS:
        db.execute(statement)


@migrations(name="0014_alerts")
def alerts(db: Tables) -> None:
    """Add what alerts said."""
    for statement in ALERTS:
        db.execute(statement)


@migrations(name="0015_alert_machines")
def alert_machines(db: Tables) -> None:
    """Add which machine an alert is of. One that lasts is of this machine: it is over, or goes on, with the next look.

    Where it was another's, that one finds it anew.
    """
    for statement in ALERT_MACHINES:
        db.execute(statement)
    db.execute("UPDATE alerts SET machine = ?, host = ? WHERE until IS NULL", (machine_id(), os.uname().nodename))
