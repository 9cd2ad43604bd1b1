"""The keys in the memory of who serves. A thread follows the table; a request costs a look into a dictionary."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable

from vllm_studio_tui.domain.api_key import ApiKey
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.services.serving.api_keys import digest
from vllm_studio_tui.services.serving.key_limits import DAY, BadTries, Spending
from vllm_studio_tui.store.api_keys import ApiKeyRows, read_keys, tokens_since
from vllm_studio_tui.store.database import Database, Reader

#: Seconds between two looks at whether anything in the database has changed.
LOOK_SECONDS = 0.5
#: Seconds after which the last use of keys is saved.
USED_SECONDS = 30.0
#: Longer secrets are none of ours, and not hashed.
LONGEST_SECRET = 512
#: Letters of a secret's hash by which it is looked up; the rest is compared in constant time.
BEGINNING = 8
#: Adding up today's tokens may take this share of the thread's time.
SHARE = 0.05

_log = logging.getLogger(__name__)


class KeyRing:
    """Keys by their secrets, and what each of them has used of its limits.

    Making and closing it block. Every other call is quick, waits for nothing, and may be made on an event loop.
    """

    def __init__(
        self,
        db: Database,
        owner: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the keys, and what they used today, and begin to follow the table.

        Args:
            owner: Under which the `RequestLog` of this process keeps its rows. Their tokens are told by `spent`.

        Raises:
            StoreError: The keys cannot be read.
        """
        self._db = db
        self._owner = owner
        self._clock = clock
        self._monotonic = monotonic
        self._bad = BadTries(monotonic)
        self._lock = threading.Lock()
        self._keys: dict[str, list[tuple[str, ApiKey]]] = {}
        self._all: tuple[ApiKey, ...] = ()
        self._ids: frozenset[str] = frozenset()
        self._spending: dict[str, Spending] = {}
        self._before: tuple[int, dict[str, int]] = (0, {})
        self._used: dict[str, float] = {}
        #: Why the keys may be out of date; None where they are not.
        self.error: str | None = None
        self._ending = threading.Event()
        self._read_keys(db)
        self._add_up(db)
        self._thread = threading.Thread(target=self._follow, name="keys", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Save when keys were used last, and end. Blocking."""
        self._ending.set()
        self._thread.join(timeout=5.0)
        self._save_used()

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._all)

    def check(self, secret: str) -> ApiKey | None:
        """Return the key of a secret; None: there is none, or it has expired. Quick."""
        if not secret or len(secret) > LONGEST_SECRET:
            return None
        wanted = digest(secret)
        now = self._clock()
        for known, key in self._keys.get(wanted[:BEGINNING], ()):
            if hmac.compare_digest(known, wanted) and (key.expires_at is None or now < key.expires_at):
                with self._lock:
                    self._used[key.id] = now
                return key
        return None

    def admit(self, key: ApiKey) -> None:
        """Count a request of a key in; `release` counts it out. Quick.

        Raises:
            Refusal: It is over one of the key's limits; it was not counted in.
        """
        now = self._clock()
        with self._lock:
            day, before = self._before
            spent_before = before.get(key.id, 0) if day == int(now // DAY) else 0
            self._spending_of(key).admit(key, moment=self._monotonic(), now=now, spent_before=spent_before)

    def release(self, key: ApiKey, *, counts: bool = True) -> None:
        """Count a request out that was admitted; `counts`: as one of the minute's, too. Quick."""
        with self._lock:
            spending = self._spending.get(key.id)
            if spending is not None:
                spending.release(counts=counts)

    def spent(self, key: ApiKey, tokens: int) -> None:
        """Count the tokens of a request that has ended, whose row this process keeps. Quick."""
        with self._lock:
            self._spending_of(key).spend(tokens, self._clock())

    def _spending_of(self, key: ApiKey) -> Spending:
        found = self._spending.get(key.id)
        if found is None:
            found = self._spending[key.id] = Spending()
        return found

    def in_flight(self, key_id: str) -> int:
        """Return how many requests of a key are under way. Quick."""
        with self._lock:
            spending = self._spending.get(key_id)
            return 0 if spending is None else spending.in_flight

    def tokens_today(self, key_id: str) -> int:
        """Return the tokens that a key has used today in UTC; those of keys without a limit are not added up. Quick."""
        now = self._clock()
        with self._lock:
            day, before = self._before
            spending = self._spending.get(key_id)
            here = 0 if spending is None else spending.tokens(now)
            return here + (before.get(key_id, 0) if day == int(now // DAY) else 0)

    def bad_try(self, address: str) -> None:
        """Count a wrong key from an address. Quick."""
        with self._lock:
            self._bad.add(address)

    def blocked(self, address: str) -> float | None:
        """Return for how many seconds no further key of an address is tried, after ten wrong ones in a minute.

        It is for keys that are not known: see `http/guard.py`. Quick.
        """
        with self._lock:
            return self._bad.wait(address)

    # --- the thread -------------------------------------------------------------------------------------

    def _follow(self) -> None:
        saved = self._monotonic()
        while not self._ending.is_set():
            try:
                with self._db.reader() as reader:
                    self._follow_with(reader, saved)
            except StoreError as error:
                self.error = error.title
                _log.warning("the keys may be out of date: %s", error)
            except Exception:  # noqa: BLE001, RUF100
                self.error = "an internal error"
                _log.exception("the keys may be out of date")
            self._ending.wait(2 * LOOK_SECONDS)

    def _follow_with(self, reader: Reader, saved: float) -> None:
        seen: int | None = None
        next_sum = self._monotonic()
        pending = True
        while not self._ending.wait(LOOK_SECONDS):
            # The number changes with every write of another connection, and this one never writes.
            row = reader.row("PRAGMA data_version")
            version = None if row is None else int(row[0])
            if version != seen or self.error is not None:
                self._read_keys(reader)
                seen, pending = version, True
            now = self._monotonic()
            if pending and now >= next_sum:
                took = self._add_up(reader)
                next_sum, pending = now + took / SHARE, False
            if now - saved >= USED_SECONDS:
                self._save_used()
                saved = now

    def _read_keys(self, reader: Reader) -> None:
        found = read_keys(reader)
        keys: dict[str, list[tuple[str, ApiKey]]] = {}
        for key, known in found:
            keys.setdefault(known[:BEGINNING], []).append((known, key))
        self._keys = keys
        self._all = tuple(key for key, _ in found)
        ids = frozenset(key.id for key in self._all)
        if ids != self._ids:
            with self._lock:
                gone = [name for name, one in self._spending.items() if name not in ids and not one.in_flight]
                for name in gone:
                    del self._spending[name]
            self._ids = ids
        self.error = None

    def _add_up(self, reader: Reader) -> float:
        """Add up what keys with a limit used today, besides what is counted here; return how many seconds it took."""
        begun = time.monotonic()
        now = self._clock()
        limited = [key.id for key in self._all if key.tokens_per_day is not None]
        sums = tokens_since(reader, now // DAY * DAY, keys=limited, besides=self._owner)
        with self._lock:
            self._before = (int(now // DAY), sums)
        return time.monotonic() - begun

    def _save_used(self) -> None:
        with self._lock:
            moments, self._used = self._used, {}
        if not moments:
            return
        try:
            ApiKeyRows(self._db).used(moments, patience=0.25)
        except StoreError:
            with self._lock:
                self._used = {**moments, **self._used}
