"""API keys: made once, kept as a hash, followed by who serves, held to their limits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.api_key import LOCAL, ApiKey, Scope
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.domain.usage import DAY, CompletedRequest
from vllm_studio_tui.services.serving.api_keys import ApiKeys, digest, new_secret
from vllm_studio_tui.services.serving.key_limits import ADDRESSES, BadTries
from vllm_studio_tui.services.serving.key_ring import KeyRing
from vllm_studio_tui.services.serving.key_text import key_from_text, key_to_text
from vllm_studio_tui.store.api_keys import ApiKeyRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows

OWNER = "this:process:1:1"


class Clock:
    """A clock that is set."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def ring_of(db: Database) -> Iterator[Callable[..., KeyRing]]:
    made: list[KeyRing] = []

    def make(**clocks: Clock) -> KeyRing:
        made.append(KeyRing(db, OWNER, **clocks))
        return made[-1]

    yield make
    for one in made:
        one.close()


def eventually(true: Callable[[], object], *, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def spent(db: Database, key: ApiKey, tokens: int, at: float, *, owner: str | None = None) -> None:
    row = CompletedRequest(at, "proxy", "stop", key_id=key.id, prompt_tokens=tokens - 1, completion_tokens=1)
    RequestRows(db).record_all([row], owner)


# --- secrets --------------------------------------------------------------------------------------------


def test_a_secret_has_its_prefix_and_256_random_bits_in_letters_and_digits() -> None:
    made = {new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"vs-[0-9A-Za-z]{43}", one) for one in made)
    assert len({one[3] for one in made}) > 1
    assert len({one[-1] for one in made}) > 30


def test_the_secret_is_told_once_and_never_kept(db: Database, tmp_path: Path) -> None:
    key, secret = ApiKeys(db).add("opencode")
    assert secret.startswith(key.prefix)
    assert len(key.prefix) == len("vs-") + 8
    db.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert secret[11:].encode() not in kept
    assert digest(secret).encode() in kept
    assert secret not in repr(key)
    assert secret not in json.dumps(key.to_json())


# --- keys -----------------------------------------------------------------------------------------------


def test_a_key_may_do_what_it_was_given_and_no_more(db: Database) -> None:
    given_ = {
        "scopes": ["read", "inference"],
        "models": ["qwen*", "smol"],
        "requests_per_minute": 5,
        "max_concurrent": 2,
        "tokens_per_day": 1000,
        "expires_at": time.time() + 100,
        "may_launch": True,
        "loading": "reasoning",
    }
    made, _ = ApiKeys(db).add("  ci-bot ", **given_)  # type: ignore[arg-type]
    [kept] = ApiKeys(db).list()
    assert kept == made
    assert kept.name == "ci-bot"
    assert kept.scopes == {Scope.READ, Scope.INFERENCE}
    assert kept.models == ("qwen*", "smol")
    assert {name: getattr(kept, name) for name in given_ if name not in ("scopes", "models")} == {
        name: value for name, value in given_.items() if name not in ("scopes", "models")
    }
    plain, _ = ApiKeys(db).add("plain")
    assert plain.scopes == {Scope.INFERENCE}
    assert plain.may_launch is False


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "\x1b[31mred"},
        {"name": "x" * 65},
        {"name": "owner"},
        {"name": "vs-abc"},
        {"scopes": ["everything"]},
        {"scopes": []},
        {"models": [""]},
        {"models": ["m"] * 1 + [f"m{number}" for number in range(100)]},
        {"requests_per_minute": 0},
        {"max_concurrent": -1},
        {"tokens_per_day": 10**16},
        {"expires_at": 1.0},
        {"loading": "louder"},
    ],
    ids=str,
)
def test_a_key_that_makes_no_sense_is_not_made(db: Database, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ApiKeys(db).add(**{"name": "good", **wrong})  # type: ignore[arg-type]
    assert ApiKeys(db).list() == []


def test_a_name_is_taken_once(db: Database) -> None:
    ApiKeys(db).add("web")
    with pytest.raises(UsageError, match="there is a key web already"):
        ApiKeys(db).add("web")


def test_a_key_is_found_by_name_id_and_beginning_and_deleted_once(db: Database) -> None:
    keys = ApiKeys(db)
    key, _ = keys.add("web")
    keys.add("other")
    assert [keys.find(name) for name in ("web", key.id, key.prefix, f"{key.prefix}****")] == [key] * 4
    assert keys.delete("web") == key
    with pytest.raises(NotFound, match="no key web"):
        keys.delete("web")
    assert [one.name for one in keys.list()] == ["other"]


def test_what_a_key_may_do_is_changed_and_its_secret_stays(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    keys = ApiKeys(db)
    key, secret = keys.add("web", tokens_per_day=5)
    keys.change(replace(key, tokens_per_day=None, models=("qwen*",)))
    assert ring_of().check(secret) == replace(key, tokens_per_day=None, models=("qwen*",))
    with pytest.raises(UsageError):
        keys.change(replace(key, loading="louder"))
    keys.delete("web")
    with pytest.raises(NotFound):
        keys.change(key)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["scopes", "models", "max_concurrent", "tokens_per_day", "expires_at", "may_launch", "loading"]
                ),
                inner,
                max_size=6,
            )
        ),
    ).map(json.dumps)
    | st.text(max_size=30)
)
def test_grants_that_cannot_be_read_give_no_rights(grants: str) -> None:
    from vllm_studio_tui.store.api_keys import _key

    row = {"id": "k", "name": "n", "prefix": "", "grants": grants, "created_at": 0.0, "last_used_at": None}
    key = _key(row)  # type: ignore[arg-type]
    try:
        data = json.loads(grants)
    except ValueError:
        data = None
    data = data if isinstance(data, dict) else {}
    scopes = data.get("scopes")
    assert all(scope in (scopes if isinstance(scopes, list) else []) for scope in key.scopes)
    for name in ("max_concurrent", "tokens_per_day", "expires_at"):
        # A limit that cannot be read is no reason to have none.
        assert data.get(name) is None or getattr(key, name) is not None or not key.scopes
    assert key.models or not data.get("models") or not key.scopes


@given(st.text(max_size=80) | st.from_regex(r"(scopes|models|loading|max_concurrent): .{0,20}\n?", fullmatch=True))
def test_any_text_of_a_key_is_a_key_or_says_what_is_wrong(text: str) -> None:
    key = ApiKey("k", "n", "vs-", models=("qwen*",), max_concurrent=3, may_launch=True, loading="503")
    try:
        changed = key_from_text(key, text)
    except UsageError as error:
        assert error.title
    else:
        assert key_from_text(key, key_to_text(changed)) == changed


def test_the_text_of_a_key_leaves_alone_what_it_does_not_name() -> None:
    key = ApiKey("k", "n", "vs-", models=("qwen*",), max_concurrent=3, tokens_per_day=5, loading="comment")
    assert key_from_text(key, key_to_text(key)) == key
    assert key_from_text(key, "max_concurrent:\nmodels: []\n") == replace(key, max_concurrent=None, models=())
    for wrong in (
        "name: x",
        "models: 5",
        "scopes: [all]",
        "may_launch: perhaps",
        "max_concurrent: true",
        "a: [",
        "- x",
    ):
        with pytest.raises(UsageError):
            key_from_text(key, wrong)


# --- the ring -------------------------------------------------------------------------------------------


def test_a_ring_knows_secrets_and_nothing_near_them(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    key, secret = ApiKeys(db).add("web")
    ring = ring_of()
    assert ring.check(secret) == key
    near = [
        secret[:-1],
        f"{secret}0",
        secret.swapcase(),
        "",
        key.prefix,
        digest(secret),
        "vs-",
        "\ud800",
        "x" * 100_000,
    ]
    assert [ring.check(one) for one in near] == [None] * len(near)


def test_a_ring_follows_keys_that_another_process_adds_and_deletes(
    db: Database, tmp_path: Path, ring_of: Callable[..., KeyRing]
) -> None:
    ring = ring_of()
    other = Database.open(tmp_path / "studio.db")
    try:
        key, secret = ApiKeys(other).add("late")
        eventually(lambda: ring.check(secret) == key)
        ApiKeys(other).change(replace(key, max_concurrent=3))
        eventually(lambda: ring.check(secret) == replace(key, max_concurrent=3))
        ApiKeys(other).delete("late")
        eventually(lambda: ring.check(secret) is None)
    finally:
        other.close()


def test_a_ring_follows_keys_that_its_own_process_adds(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    ring = ring_of()
    _, secret = ApiKeys(db).add("here")
    eventually(lambda: ring.check(secret))
    assert len(ring) == 1


def test_a_key_expires_to_the_second(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    clock = Clock(time.time())
    _, secret = ApiKeys(db).add("brief", expires_at=clock.at + 10)
    ring = ring_of(clock=clock)
    clock.at += 9.9
    assert ring.check(secret) is not None
    clock.at += 0.1
    assert ring.check(secret) is None


def test_the_last_use_is_saved(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    clock = Clock(time.time())
    _, secret = ApiKeys(db).add("web")
    ring = ring_of(clock=clock)
    ring.check(secret)
    ring.close()
    assert ApiKeyRows(db).list()[0].last_used_at == clock.at


# --- limits ---------------------------------------------------------------------------------------------


def refused(ring: KeyRing, key: ApiKey) -> Refusal:
    with pytest.raises(Refusal) as caught:
        ring.admit(key)
    assert caught.value.status == 429
    return caught.value


def test_a_minute_has_so_many_requests_whichever_minute_it_is(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    clock = Clock(100.0)
    key, _ = ApiKeys(db).add("web", requests_per_minute=3)
    ring = ring_of(monotonic=clock)
    for _ in range(3):
        ring.admit(key)
        clock.at += 10
    refusal = refused(ring, key)
    assert (refusal.code, refusal.retry_after) == ("too_many_requests", 30.0)
    clock.at += 29.9
    refused(ring, key)
    clock.at += 0.1
    ring.admit(key)
    refused(ring, key)


def test_so_many_requests_at_once(db: Database, ring_of: Callable[..., KeyRing]) -> None:
    key, _ = ApiKeys(db).add("web", max_concurrent=2)
    other, _ = ApiKeys(db).add("other", max_concurrent=2)
    ring = ring_of()
    ring.admit(key)
    ring.admit(key)
    assert refused(ring, key).code == "too_many_at_once"
    ring.admit(other)
    ring.release(key)
    ring.admit(key)
    assert (ring.in_flight(key.id), ring.in_flight(other.id)) == (2, 1)
    for _ in range(5):
        ring.release(key)
    assert ring.in_flight(key.id) == 0


def test_who_needs_no_key_has_no_limits(ring_of: Callable[..., KeyRing]) -> None:
    ring = ring_of()
    for _ in range(100):
        ring.admit(LOCAL)
    assert ring.in_flight(LOCAL.id) == 100


def test_tokens_of_a_day_are_counted_once_and_over_a_restart(
    db: Database, tmp_path: Path, ring_of: Callable[..., KeyRing]
) -> None:
    noon = 20_000 * DAY + DAY / 2
    clock = Clock(noon)
    key, _ = ApiKeys(db).add("web", tokens_per_day=100)
    spent(db, key, 1000, noon - DAY)
    spent(db, key, 30, noon - 60)
    ring = ring_of(clock=clock)
    assert ring.tokens_today(key.id) == 30
    ring.admit(key)
    ring.spent(key, 50)
    # Its row comes later, and is not counted again; one of another process is.
    spent(db, key, 50, noon, owner=OWNER)
    other = Database.open(tmp_path / "studio.db")
    spent(other, key, 10, noon)
    other.close()
    eventually(lambda: ring.tokens_today(key.id) == 90)
    ring.admit(key)
    ring.spent(key, 10)
    spent(db, key, 10, noon, owner=OWNER)
    refusal = refused(ring, key)
    assert (refusal.code, refusal.retry_after) == ("tokens_used_up", DAY / 2)
    again = KeyRing(db, "the:next:1:1", clock=clock)
    try:
        assert again.tokens_today(key.id) == 100
        refused(again, key)
        clock.at += DAY / 2
        assert again.tokens_today(key.id) == 0
        again.admit(key)
    finally:
        again.close()
    assert ring.tokens_today(key.id) == 0
    ring.admit(key)


# --- addresses ------------------------------------------------------------------------------------------


def test_ten_wrong_keys_in_a_minute_close_the_door_for_the_rest_of_it() -> None:
    clock = Clock(0.0)
    tries = BadTries(clock)
    for _ in range(9):
        tries.add("192.0.2.1")
        clock.at += 5
    assert tries.wait("192.0.2.1") is None
    tries.add("192.0.2.1")
    assert tries.wait("192.0.2.1") == 60 - 45
    assert tries.wait("::ffff:192.0.2.1") == 60 - 45
    assert tries.wait("192.0.2.2") is None
    clock.at += 15
    assert tries.wait("192.0.2.1") is None


def test_a_household_of_ipv6_is_one_address() -> None:
    tries = BadTries(Clock(0.0))
    for number in range(10):
        tries.add(f"2001:db8::{number:x}")
    assert tries.wait("2001:db8::ffff")
    assert tries.wait("2001:db8:0:1::1") is None


def test_any_address_is_taken_in_bounded_memory() -> None:
    tries = BadTries(Clock(0.0))
    for number in range(ADDRESSES + 500):
        tries.add(f"address {number} {'x' * 1000}")
    assert len(tries._tries) == ADDRESSES
    assert max(len(name) for name in tries._tries) <= 100
    tries.add("")
    assert tries.wait("") is None
