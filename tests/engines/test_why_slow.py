"""Why a real vLLM is slow: more ask than it has places, then the cache is too small for the answers.

How true the figures are is in `test_metrics_truth.py`, and for these scenes in `unit/test_why_real.py`.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.engines.conftest import Home
from tests.ports import free_port
from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500)]
SEATS, BLOCKS, BLOCK = 8, 24, 128
#: Seconds of the usual time: what is compared with must lie half a minute before. Seconds that a load may last.
USUAL, MOST = 75.0, 240.0


@dataclass
class Clients:
    """Ask one after the other until they are told to stop."""

    port: int
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self, many: int, prompt: int, answer: int) -> Iterator[None]:
        self._over.clear()
        threads = [threading.Thread(target=self._work, args=(number, prompt, answer)) for number in range(many)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _work(self, number: int, prompt: int, answer: int) -> None:
        draw = random.Random(number)
        while not self._over.is_set():
            self._ask([draw.randrange(1000, 40000) for _ in range(prompt)], answer)

    def _ask(self, tokens: list[int], answer: int) -> None:
        body = {"model": "smol", "prompt": tokens, "max_tokens": answer, "ignore_eos": True}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert json.loads(response.read())["usage"]["completion_tokens"] == answer
        connection.close()


def explained(studio: Studio, run_id: str, rule: str, lasted: float) -> Why:
    """Return what is said of the present as soon as this rule explains it, and the slow time is so long."""
    deadline = time.monotonic() + MOST
    while True:
        why = studio.why.slow(run_id)
        assert why is not None
        if why.rule == rule and why.lasted >= lasted:
            return why
        assert time.monotonic() < deadline, (why.rule, why.title, why.sentences, why.also)
        time.sleep(1.0)


def test_few_places_and_a_small_cache_are_named_as_soon_as_they_hold_it_back(home: Home) -> None:
    run = home.launch(
        home.recipe(
            "vllm", port=free_port(), max_num_seqs=SEATS,
            extra_args={"enforce_eager": True, "num-gpu-blocks-override": BLOCKS},
        )
    )  # fmt: skip
    clients = Clients(run["port"])
    with Studio.open_sync(Places.under(home.root)) as studio:
        studio.sampler.start()
        try:
            with clients.asking(1, 60, 60):
                time.sleep(USUAL)  # the usual time is a time
                usual = studio.why.slow(run["run_id"])
            # Whether others compute on this machine meanwhile is no matter of this test.
            assert usual is not None and usual.rule in ("not-slow", "host-crowded"), usual

            with clients.asking(2 * SEATS, 60, 60):
                queue = explained(studio, run["run_id"], "queue", 40.0)
            assert f"All {SEATS} places are taken" in queue.sentences[0]
            assert any(one.startswith(f"{SEATS} requests waited") for one in queue.sentences), queue.sentences

            time.sleep(USUAL / 2)  # the queue is over, and what follows is a slow time of its own
            with clients.asking(SEATS, 500, 400):
                full = explained(studio, run["run_id"], "kv-preempt", 40.0)
                told = studio.latest_sample
            assert f"of {BLOCKS * BLOCK} tokens" in full.sentences[0], full.sentences
            engine = told.engine(run["run_id"]) if told is not None else None
            assert engine is not None and engine.preemptions_total
            lost = int(full.sentences[0].split(" request")[0].rpartition(" ")[2])
            assert 1 <= lost <= engine.preemptions_total + 1
        finally:
            studio.sampler.close()
