"""What a follower writes of its job is read back whatever became of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.job import REPORT, Cause, Part, Phase, Report, read_parts
from vllm_studio_tui.followers.report import ReportFile, read_report

text = st.text(max_size=40)
parts = st.builds(Part, st.text(min_size=1, max_size=20), text, text, text, text)
causes = st.builds(Cause, st.text(min_size=1, max_size=9), text, text, st.lists(text, max_size=3).map(tuple))
reports = st.builds(
    Report, text, st.booleans(), st.sampled_from(Phase), text, text, text, st.lists(parts, max_size=4),
    st.none() | causes, st.booleans(), st.booleans(), st.dictionaries(text, st.integers() | text, max_size=3),
)  # fmt: skip
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@given(reports)
def test_a_report_is_read_back_as_it_was_written(report: Report) -> None:
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


@given(st.dictionaries(st.sampled_from(list(Report.__dataclass_fields__)) | text, anything, max_size=8))
def test_any_object_is_a_report(data: dict[str, Any]) -> None:
    read = Report.from_json(data)
    assert Report.from_json(json.loads(json.dumps(read.to_json()))).handle == read.handle


@given(anything)
def test_anything_has_parts_or_none(data: Any) -> None:
    assert all(isinstance(one, Part) for one in read_parts(data))


@given(st.binary(max_size=200))
def test_a_torn_file_is_no_report(tmp_path_factory: Any, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / REPORT).write_bytes(raw)
    found = read_report(folder)
    assert found is None or isinstance(found, Report)


def test_it_is_written_where_it_changed_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = ReportFile(tmp_path)
    assert file.write(Report(handle="a:1"))
    first = (tmp_path / REPORT).stat()
    assert file.write(Report(handle="a:1"))
    assert (tmp_path / REPORT).stat().st_mtime_ns == first.st_mtime_ns
    assert first.st_mode & 0o777 == 0o600
    assert file.write(Report(handle="a:2"))
    assert read_report(tmp_path) == Report(handle="a:2")


def test_a_full_disk_is_said_and_the_next_write_is_tried_again(tmp_path: Path) -> None:
    file = ReportFile(tmp_path / "gone")
    assert not file.write(Report(handle="a:1"))
    (tmp_path / "gone").mkdir()
    assert file.write(Report(handle="a:1"))
