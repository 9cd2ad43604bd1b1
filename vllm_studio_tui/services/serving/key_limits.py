"""What keys have used of their limits, and addresses that try keys out. Nothing here waits or reads anything."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from vllm_studio_tui.domain.api_key import ApiKey
from vllm_studio_tui.domain.serving import Refusal

MINUTE = 60.0
DAY = 86_400
#: Wrong keys within a minute after which an address has to wait.
BAD_TRIES = 10
#: Addresses that are remembered; the one that tried longest ago is forgotten first.
ADDRESSES = 10_000


class Spending:
    """What one key does now and did in the last minute and today."""

    __slots__ = ("_day", "_moments", "_tokens", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self._moments: deque[float] = deque()
        self._day = 0
        self._tokens = 0

    def admit(self, key: ApiKey, *, moment: float, now: float, spent_before: int) -> None:
        """Count a request in.

        Args:
            moment: Of a clock that never goes back.
            now: Seconds since the epoch.
            spent_before: Tokens of today that are not counted here.

        Raises:
            Refusal: It is over one of the key's limits; nothing was counted.
        """
        if key.max_concurrent is not None and self.in_flight >= key.max_concurrent:
            raise Refusal(
                429,
                "too_many_at_once",
                f"key {key.name} has {self.in_flight} requests under way, and may have {key.max_concurrent}",
                advice="Wait for one of them to end.",
                retry_after=1.0,
            )
        if key.tokens_per_day is not None:
            used = spent_before + self.tokens(now)
            if used >= key.tokens_per_day:
                raise Refusal(
                    429,
                    "tokens_used_up",
                    f"key {key.name} has used {used} tokens today, of {key.tokens_per_day}",
                    advice=f"The day begins anew at midnight in UTC, in {math.ceil(DAY - now % DAY)} s.",
                    retry_after=DAY - now % DAY,
                )
        if key.requests_per_minute is not None:
            while self._moments and self._moments[0] <= moment - MINUTE:
                self._moments.popleft()
            if len(self._moments) >= key.requests_per_minute:
                # The limit may have been lowered: so many of the oldest have to be over a minute old.
                oldest = self._moments[len(self._moments) - key.requests_per_minute]
                wait = max(0.1, oldest + MINUTE - moment)
                raise Refusal(
                    429,
                    "too_many_requests",
                    f"key {key.name} has sent {len(self._moments)} requests within a minute,"
                    f" and may send {key.requests_per_minute}",
                    advice=f"Try again in {math.ceil(wait)} s.",
                    retry_after=wait,
                )
            self._moments.append(moment)
        else:
            self._moments.clear()
        self.in_flight += 1

    def release(self, *, counts: bool = True) -> None:
        """Count a request out.

        Args:
            counts: As one of the minute's, too: it reached a model.
        """
        self.in_flight = max(0, self.in_flight - 1)
        if not counts and self._moments:
            self._moments.pop()

    def spend(self, tokens: int, now: float) -> None:
        """Count tokens of today."""
        self._tokens = self.tokens(now) + max(0, tokens)
        self._day = int(now // DAY)

    def tokens(self, now: float) -> int:
        """Return the tokens that were counted today."""
        return self._tokens if self._day == int(now // DAY) else 0


class BadTries:
    """Wrong keys by the address that sent them, in bounded memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str) -> None:
        """Count a wrong key."""
        place = _place(address)
        tries = self._tries.setdefault(place, deque(maxlen=BAD_TRIES))
        tries.append(self._clock())
        self._tries.move_to_end(place)
        while len(self._tries) > ADDRESSES:
            self._tries.popitem(last=False)

    def wait(self, address: str) -> float | None:
        """Return for how many seconds an address has to wait; None: it need not."""
        if not self._tries:
            return None
        tries = self._tries.get(_place(address))
        if tries is None or len(tries) < BAD_TRIES:
            return None
        left = tries[0] + MINUTE - self._clock()
        return left if left > 0 else None


def _place(address: str) -> str:
    """Return what is counted as one address: of IPv6 the network of one household, which may choose the rest."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped) if mapped is not None else str(IPv6Address(int(found) >> 64 << 64))
    return str(found)
