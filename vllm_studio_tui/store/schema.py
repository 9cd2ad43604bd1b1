"""The tables, as statements that one migration runs, and the names of all migrations.

No import here: whether a database is up to date is asked with the standard library alone.
"""

from __future__ import annotations

#: The set of migrations under which sqlite-utils records what was applied.
MIGRATION_SET = "studio"
#: The names of our migrations, in order. A database that names others was written by a newer version.
MIGRATIONS = (
    "0001_tables",
    "0002_run_ledger",
    "0003_request_lease",
    "0004_recipe_revisions",
    "0005_serving",
    "0006_gateway_calls",
    "0007_chat_tools",
    "0008_chat_marks",
    "0009_chat_imports",
    "0010_chat_pictures",
    "0011_memory_reports",
    "0012_timeline",
    "0013_benchmarks",
    "0014_alerts",
    "0015_alert_machines",
)

#: What a run is remembered by when its directory is gone.
RUN_LEDGER = tuple(
    f"ALTER TABLE runs ADD COLUMN {name} TEXT" for name in ("recipe", "recipe_revision", "engine_version", "marks")
)
#: `owner` is the lease of the process that reads the answer, while `finish` is `streaming`. `estimated`: the tokens
#: are estimated from the length of the text, because the engine did not report them.
REQUEST_LEASE = (
    "ALTER TABLE requests ADD COLUMN owner TEXT",
    "ALTER TABLE requests ADD COLUMN estimated INTEGER",
    "CREATE INDEX requests_streaming ON requests (id) WHERE finish = 'streaming'",
)

#: Each form that a recipe had; without `data` it was deleted. `change_id` is the first `seq` of what was done at once,
#: `settled` what can no longer be taken back: it was, or it is no change. Recipes of before begin with what they are.
RECIPE_REVISIONS = (
    """CREATE TABLE recipe_revisions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, recipe_id TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
        reason TEXT NOT NULL, data TEXT, change_id INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,
        UNIQUE (recipe_id, number))""",
    "CREATE INDEX recipe_revisions_open ON recipe_revisions (seq) WHERE NOT settled",
    """INSERT INTO recipe_revisions (recipe_id, number, at, reason, data, settled)
        SELECT id, 1, COALESCE((julianday(updated_at) - 2440587.5) * 86400.0, 0.0), 'an earlier version', data, 1
        FROM recipes ORDER BY id""",
    "ALTER TABLE runs ADD COLUMN revision_number INTEGER",
)
#: What is known of a request that another program sent, and the keys of those programs. The secret of a key is kept as
#: its SHA-256; `grants` is what it may do, as JSON.
SERVING = (
    *(
        f"ALTER TABLE requests ADD COLUMN {name}"
        for name in (
            "key_id TEXT",
            "key_name TEXT",
            "endpoint TEXT",
            "requested_model TEXT",
            "status INTEGER",
            "streamed INTEGER",
            "queued_seconds REAL",
            "load_seconds REAL",
            "overhead_seconds REAL",
            "upstream_id TEXT",
            "client TEXT",
            "bytes_in INTEGER",
            "bytes_out INTEGER",
        )
    ),
    "CREATE INDEX requests_of_key ON requests (key_id, at) WHERE key_id IS NOT NULL",
    """CREATE TABLE api_keys (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash TEXT NOT NULL UNIQUE, prefix TEXT NOT NULL,
        grants TEXT NOT NULL, created_at REAL NOT NULL, last_used_at REAL)""",
)
TABLES = (
    """CREATE TABLE recipes (
        id TEXT PRIMARY KEY, data TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)""",
    """CREATE TABLE chat_sessions (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, model TEXT, parent_id TEXT,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, deleted_at TEXT, leaf_id TEXT,
        settings TEXT NOT NULL DEFAULT '{}')""",
    "CREATE INDEX chat_sessions_recent ON chat_sessions (updated_at, id)",
    # `seq` orders messages: two of one millisecond have no order by time. `owner` and `touched_at` are the lease of
    # the process that streams the answer.
    """CREATE TABLE chat_messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
        parent_id TEXT, role TEXT NOT NULL, content TEXT NOT NULL DEFAULT '', reasoning TEXT NOT NULL DEFAULT '',
        model TEXT, tool_calls TEXT, tool_call_id TEXT, images TEXT, finish TEXT, error TEXT,
        request_prompt_tokens INTEGER, request_tools_tokens INTEGER, request_total_input_tokens INTEGER,
        request_completion_tokens INTEGER, reasoning_tokens INTEGER, cached_tokens INTEGER,
        ttft REAL, thinking_seconds REAL, total_seconds REAL, tokens_per_second REAL,
        created_at TEXT NOT NULL, owner TEXT, touched_at REAL)""",
    "CREATE INDEX chat_messages_of_session ON chat_messages (session_id, seq)",
    "CREATE INDEX chat_messages_streaming ON chat_messages (seq) WHERE finish = 'streaming'",
    """CREATE VIRTUAL TABLE chat_search USING fts5 (
        content, content='chat_messages', content_rowid='seq', tokenize='unicode61 remove_diacritics 2')""",
    # An answer is indexed when it is over: a checkpoint every second would index all of it again each time.
    """CREATE TRIGGER chat_search_insert AFTER INSERT ON chat_messages WHEN new.finish IS NOT 'streaming' BEGIN
        INSERT INTO chat_search (rowid, content) VALUES (new.seq, new.content); END""",
    """CREATE TRIGGER chat_search_delete AFTER DELETE ON chat_messages WHEN old.finish IS NOT 'streaming' BEGIN
        INSERT INTO chat_search (chat_search, rowid, content) VALUES ('delete', old.seq, old.content); END""",
    """CREATE TRIGGER chat_search_forget AFTER UPDATE OF content, finish ON chat_messages
        WHEN old.finish IS NOT 'streaming' AND (new.finish IS 'streaming' OR new.content IS NOT old.content) BEGIN
        INSERT INTO chat_search (chat_search, rowid, content) VALUES ('delete', old.seq, old.content); END""",
    """CREATE TRIGGER chat_search_learn AFTER UPDATE OF content, finish ON chat_messages
        WHEN new.finish IS NOT 'streaming' AND (old.finish IS 'streaming' OR new.content IS NOT old.content) BEGIN
        INSERT INTO chat_search (rowid, content) VALUES (new.seq, new.content); END""",
    # Tokens per second and seconds; the best that was seen of a model.
    """CREATE TABLE peak_metrics (
        model_id TEXT PRIMARY KEY, prefill_tps REAL, generation_tps REAL, ttft REAL, updated_at TEXT NOT NULL)""",
    "CREATE TABLE lifetime_metrics (key TEXT PRIMARY KEY, value REAL NOT NULL, updated_at TEXT NOT NULL)",
    # Times of runs, readings and requests are seconds since the epoch, as their keepers write them.
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, recipe_id TEXT, name TEXT, backend TEXT, model TEXT, port INTEGER, base_url TEXT,
        gpus TEXT NOT NULL DEFAULT '[]', simulated INTEGER, created_at REAL, started_at REAL, ready_at REAL,
        ended_at REAL, state TEXT, attempt INTEGER, restarts INTEGER, exit_code INTEGER, exit_signal INTEGER,
        reason TEXT, title TEXT)""",
    "CREATE INDEX runs_of_recipe ON runs (recipe_id, created_at)",
    """CREATE TABLE run_readings (
        run_id TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, attempt INTEGER NOT NULL, kind TEXT NOT NULL,
        prompt_tokens REAL, generation_tokens REAL, cached_tokens REAL, requests REAL, data TEXT,
        PRIMARY KEY (run_id, seq)) WITHOUT ROWID""",
    # Millijoules since the driver was loaded, as NVML counts them.
    """CREATE TABLE gpu_energy (
        uuid TEXT NOT NULL, boot_id TEXT NOT NULL, at REAL NOT NULL, millijoules INTEGER NOT NULL,
        PRIMARY KEY (uuid, boot_id, at)) WITHOUT ROWID""",
    """CREATE TABLE run_gpus (
        run_id TEXT NOT NULL, uuid TEXT NOT NULL, boot_id TEXT NOT NULL,
        first_at REAL NOT NULL, last_at REAL NOT NULL, PRIMARY KEY (run_id, uuid, boot_id)) WITHOUT ROWID""",
    """CREATE TABLE requests (
        id TEXT PRIMARY KEY, at REAL NOT NULL, source TEXT NOT NULL, run_id TEXT, attempt INTEGER, recipe_id TEXT,
        model TEXT, session_id TEXT, message_id TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
        reasoning_tokens INTEGER, cached_tokens INTEGER, ttft REAL, total_seconds REAL, tokens_per_second REAL,
        finish TEXT NOT NULL, error TEXT)""",
    "CREATE INDEX requests_at ON requests (at)",
    "CREATE INDEX requests_of_run ON requests (run_id, attempt)",
    # Downsampled ticks: one row per `resolution` seconds.
    """CREATE TABLE samples (
        resolution INTEGER NOT NULL, at INTEGER NOT NULL, data TEXT NOT NULL,
        PRIMARY KEY (resolution, at)) WITHOUT ROWID""",
    """CREATE TABLE mcp_servers (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, enabled INTEGER NOT NULL DEFAULT 1, command TEXT,
        args TEXT NOT NULL DEFAULT '[]', env TEXT NOT NULL DEFAULT '{}', url TEXT, description TEXT,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL)""",
)

#: Requests as the gateway's LiteLLM saw them. What they cost an engine is counted in `requests` alone.
GATEWAY_CALLS = (
    """CREATE TABLE gateway_calls (
        id TEXT PRIMARY KEY, at REAL NOT NULL, status TEXT NOT NULL, upstream_id TEXT, kind TEXT, model TEXT,
        recipe_id TEXT, key_name TEXT, cache_hit INTEGER NOT NULL DEFAULT 0, cost REAL, prompt_tokens INTEGER,
        completion_tokens INTEGER, seconds REAL, streamed INTEGER, error TEXT, http_status TEXT)""",
    "CREATE INDEX gateway_calls_at ON gateway_calls (at)",
    "CREATE INDEX requests_of_upstream ON requests (upstream_id) WHERE upstream_id IS NOT NULL",
)

#: What chats hold besides text: files and what is known of an answer (both JSON), marks of a person, calls of tools as
#: they were decided and made, and what a person allowed for longer. `tool_calls.state` is one of `waiting`, `running`,
#: `done`, `failed`, `denied`, `unknown` (its program died while it ran: it is never made again).
CHAT_TOOLS = (
    *(
        f"ALTER TABLE chat_messages ADD COLUMN {name} TEXT"
        for name in ("files", "details", "bookmarked_at", "deleted_at")
    ),
    *(f"ALTER TABLE chat_sessions ADD COLUMN {name}" for name in ("pinned_at TEXT", "tags TEXT NOT NULL DEFAULT '[]'")),
    *(f"ALTER TABLE mcp_servers ADD COLUMN {name}" for name in ("cwd TEXT", "headers TEXT NOT NULL DEFAULT '{}'")),
    "ALTER TABLE mcp_servers ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",
    """CREATE TABLE tool_calls (
        message_id TEXT NOT NULL, call_id TEXT NOT NULL, session_id TEXT NOT NULL, round INTEGER NOT NULL,
        name TEXT NOT NULL, arguments TEXT NOT NULL, state TEXT NOT NULL, decided TEXT, asked_at REAL NOT NULL,
        began_at REAL, ended_at REAL, owner TEXT, PRIMARY KEY (message_id, call_id)) WITHOUT ROWID""",
    "CREATE INDEX tool_calls_running ON tool_calls (session_id) WHERE state IN ('waiting', 'running')",
    """CREATE TABLE tool_consents (
        id INTEGER PRIMARY KEY AUTOINCREMENT, tool TEXT NOT NULL, server TEXT NOT NULL, session_id TEXT,
        pattern TEXT, fingerprint TEXT, created_at REAL NOT NULL)""",
    """CREATE TABLE chat_texts (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, data TEXT NOT NULL,
        created_at REAL NOT NULL, updated_at REAL NOT NULL, UNIQUE (kind, name))""",
    """CREATE TABLE arena_votes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, winner TEXT, sides TEXT NOT NULL,
        blind INTEGER NOT NULL, session_id TEXT, message_id TEXT)""",
)

#: The few messages that were taken away or marked, and the chats that are pinned.
CHAT_MARKS = (
    "CREATE INDEX chat_messages_deleted ON chat_messages (session_id, deleted_at) WHERE deleted_at IS NOT NULL",
    "CREATE INDEX chat_messages_bookmarked ON chat_messages (bookmarked_at) WHERE bookmarked_at IS NOT NULL",
    "CREATE INDEX chat_sessions_pinned ON chat_sessions (pinned_at) WHERE pinned_at IS NOT NULL",
)

#: By which a chat that was taken in from a file is known, so that it is not taken in again.
CHAT_IMPORTS = (
    "ALTER TABLE chat_sessions ADD COLUMN imported TEXT",
    "CREATE INDEX chat_sessions_imported ON chat_sessions (imported) WHERE imported IS NOT NULL",
)

#: Bytes of pictures, once each by their SHA-256; `chat_messages.images` has a list of names of them, as JSON, see
#: `store.pictures`.
CHAT_PICTURES = (
    "CREATE TABLE chat_pictures (hash TEXT PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE INDEX chat_messages_with_pictures ON chat_messages (session_id) WHERE images IS NOT NULL",
)

#: What engines said of their memory when they started: `report` is JSON, see `domain.memory_report`, empty where one
#: said nothing; `fields` are those of its recipe that matter for that, as JSON.
MEMORY_REPORTS = (
    """CREATE TABLE memory_reports (
        run_id TEXT PRIMARY KEY, at REAL, recipe_id TEXT, backend TEXT, engine_version TEXT, model TEXT, gpus TEXT,
        fields TEXT NOT NULL DEFAULT '{}', report TEXT NOT NULL DEFAULT '{}')""",
    "CREATE INDEX memory_reports_backend ON memory_reports (backend, at)",
)

#: Moments that somebody pinned, and the moves of runs by time. Samples lie in a database of their own: the table that
#: was made for them never had a row.
TIMELINE = (
    "CREATE TABLE pins (id INTEGER PRIMARY KEY, at REAL NOT NULL, note TEXT NOT NULL DEFAULT '', made_at REAL)",
    "CREATE INDEX run_moves ON run_readings (at) WHERE kind IN ('spawn', 'move')",
    "DROP TABLE IF EXISTS samples",
)

#: Benchmarks: `data` is a `domain.bench.BenchResult` as JSON; of each request of a step what was measured, column by
#: column, as JSON.
BENCHMARKS = (
    """CREATE TABLE benchmarks (
        id TEXT PRIMARY KEY, at REAL NOT NULL, recipe_id TEXT, run_id TEXT, revision INTEGER, model TEXT, engine TEXT,
        engine_version TEXT, state TEXT NOT NULL, source TEXT NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX benchmarks_at ON benchmarks (at)",
    "CREATE INDEX benchmarks_recipe ON benchmarks (recipe_id, at)",
    """CREATE TABLE benchmark_requests (
        bench_id TEXT NOT NULL REFERENCES benchmarks (id) ON DELETE CASCADE, step INTEGER NOT NULL,
        repeat INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (bench_id, step, repeat)) WITHOUT ROWID""",
)

#: What alerts said: `about` is the key of what they are about, `told` whether somebody was told that they began.
ALERTS = (
    """CREATE TABLE alerts (
        id TEXT PRIMARY KEY, rule TEXT NOT NULL, about TEXT NOT NULL, subject TEXT NOT NULL, run_id TEXT,
        severity TEXT NOT NULL, since REAL NOT NULL, until REAL, value REAL, words TEXT NOT NULL DEFAULT '',
        told INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX alerts_since ON alerts (since)",
    "CREATE INDEX alerts_open ON alerts (id) WHERE until IS NULL",
)

#: Which machine an alert is of, where several share a home; not known of those of before.
ALERT_MACHINES = tuple(f"ALTER TABLE alerts ADD COLUMN {name} TEXT NOT NULL DEFAULT ''" for name in ("machine", "host"))

#: All tables as they are now.
EMPTY = (
    *TABLES,
    *RUN_LEDGER,
    *REQUEST_LEASE,
    *RECIPE_REVISIONS,
    *SERVING,
    *GATEWAY_CALLS,
    *CHAT_TOOLS,
    *CHAT_MARKS,
    *CHAT_IMPORTS,
    *CHAT_PICTURES,
    *MEMORY_REPORTS,
    *TIMELINE,
    *BENCHMARKS,
    *ALERTS,
    *ALERT_MACHINES,
)
