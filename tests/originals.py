"""Databases as the original vllm-studio made them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RECIPES = "CREATE TABLE recipes (id TEXT PRIMARY KEY, data TEXT NOT NULL, created_at TEXT, updated_at TEXT)"
LEGACY_RECIPES = (
    "CREATE TABLE recipes (id TEXT PRIMARY KEY, json TEXT NOT NULL, created_at TEXT, updated_at TEXT, model_key TEXT,"
    " is_default INTEGER)"
)
PEAKS = (
    "CREATE TABLE peak_metrics (model_id TEXT PRIMARY KEY, prefill_tps REAL, generation_tps REAL, ttft_ms REAL,"
    " total_tokens INTEGER DEFAULT 0, total_requests INTEGER DEFAULT 0, updated_at TEXT DEFAULT CURRENT_TIMESTAMP)"
)
LIFETIME = (
    "CREATE TABLE lifetime_metrics (key TEXT PRIMARY KEY, value REAL NOT NULL DEFAULT 0,"
    " updated_at TEXT DEFAULT CURRENT_TIMESTAMP)"
)
CHATS = (
    "CREATE TABLE chat_sessions (id TEXT PRIMARY KEY, title TEXT, model TEXT, parent_id TEXT, created_at TEXT,"
    " updated_at TEXT)",
    "CREATE TABLE chat_messages (id TEXT PRIMARY KEY, session_id TEXT, role TEXT, content TEXT, model TEXT,"
    " tool_calls TEXT, request_prompt_tokens INTEGER, request_tools_tokens INTEGER, request_total_input_tokens INTEGER,"
    " request_completion_tokens INTEGER, created_at TEXT)",
)


def made(statements: Iterable[str], rows: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    """Return a database with these tables and rows, as bytes."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for one in statements:
            db.execute(one)
        for table, values in rows.items():
            for row in values:
                db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
        db.commit()
        return bytes(db.serialize())


def original_recipe(name: str) -> dict[str, Any]:
    """Return a recipe with every field, as the original wrote them."""
    return {
        "id": name,
        "name": name.title(),
        "model_path": f"/models/{name}",
        "backend": "vllm",
        "env_vars": None,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "max_model_len": 32768,
        "gpu_memory_utilization": 0.9,
        "kv_cache_dtype": "auto",
        "max_num_seqs": 256,
        "trust_remote_code": True,
        "tool_call_parser": None,
        "reasoning_parser": None,
        "enable_auto_tool_choice": False,
        "quantization": None,
        "dtype": None,
        "host": "0.0.0.0",  # noqa: S104
        "port": 8000,
        "served_model_name": None,
        "python_path": None,
        "extra_args": {},
        "max_thinking_tokens": None,
        "thinking_mode": "conservative",
    }
