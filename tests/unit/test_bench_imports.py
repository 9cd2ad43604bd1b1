"""Results of other programs, as these wrote them: figures come out as these mean them; anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.bench.importing import read_results
from vllm_studio_tui.studio import Studio

FILES = Path(__file__).parent.parent / "fixtures" / "bench"
VLLM, GUIDE = (FILES / one for one in ("vllm-bench-serve-0.32.0.json", "guidellm-0.8.1.json"))


def test_vllm_bench_serve_is_read() -> None:
    (one,) = read_results(VLLM.read_bytes(), "a.json")
    (step,) = one.steps
    assert (one.source, one.model, one.plan.endpoint, one.plan.arrivals) == (
        "vllm bench serve",
        "sim",
        "chat",
        "closed",
    )
    assert (step.concurrency, step.requests, step.errors, step.tokens_out, step.good) == (4, 8, 0, 160, 1.0)
    assert step.output_tokens_per_second == pytest.approx(62.796, abs=0.001)
    assert step.ttft.mean == pytest.approx(0.50995, abs=1e-5)
    assert step.ttft.p50 == pytest.approx(0.51008, abs=1e-5)  # its median
    assert step.tpot.p95 == pytest.approx(0.040285, abs=1e-6)
    assert step.e2e.p99 == pytest.approx(1.277691, abs=1e-6)
    assert step.itl.mean == pytest.approx(0.0363378, abs=1e-6)


def test_results_that_were_appended_are_each_one() -> None:
    line = json.dumps(json.loads(VLLM.read_bytes())).encode()
    found = read_results(line + b"\n" + line + b"\n", "a.json")
    assert len({one.id for one in found}) == 2


def test_guidellm_is_read() -> None:
    (one,) = read_results(GUIDE.read_bytes(), "b.json")
    (step,) = one.steps
    assert (one.source, one.model, one.base_url) == ("guidellm", "sim", "http://127.0.0.1:9933")
    assert (one.plan.prompt_tokens, one.plan.output_tokens, one.plan.concurrency) == (64, 20, (2,))
    assert (step.requests, step.errors, step.tokens_out, step.tokens_in) == (4, 0, 80, 266)
    assert step.output_tokens_per_second == pytest.approx(30.861, abs=0.001)
    assert step.ttft.mean == pytest.approx(0.50909, abs=1e-5)
    assert step.itl.p95 == pytest.approx(0.0407179, abs=1e-6)
    assert step.tpot.mean == pytest.approx((1.28116 - 0.50909) / 19, rel=1e-3)  # as we define it
    assert step.e2e.p50 == pytest.approx(1.276405, abs=1e-6)


def test_a_file_is_kept_once_and_compared_with_ours(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        for _ in range(2):
            (one,) = studio.bench.import_(VLLM.read_bytes(), "a.json")
            (two,) = studio.bench.import_(GUIDE.read_bytes(), "b.json")
        assert {each.id for each in studio.bench.list()} == {one.id, two.id}
        assert "measured by: vllm bench serve -> guidellm" in studio.bench.compare(one.id, two.id).differences


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"{", b"\xff", b'{"benchmarks": 7}', b"[1, 2]", b"[" * 100_000])
def test_what_is_no_result_is_refused_with_what_to_do(raw: bytes) -> None:
    with pytest.raises(UsageError) as told:
        read_results(raw, "\x1b[31mx.json")
    assert "\x1b" not in str(told.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_damaged_file_raises_nothing_but_a_refusal(data: st.DataObject) -> None:
    document = json.loads(data.draw(st.sampled_from([VLLM.read_bytes(), GUIDE.read_bytes()])))
    where = document
    for _ in range(data.draw(st.integers(0, 4))):
        inner = [
            value
            for value in (where.values() if isinstance(where, dict) else where)
            if isinstance(value, dict | list) and value
        ]
        if not inner:
            break
        where = data.draw(st.sampled_from(inner))
    key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
    where[key] = data.draw(JUNK)
    try:
        for one in read_results(json.dumps(document).encode(), "a.json"):
            json.dumps(one.to_json())
    except UsageError:
        pass
