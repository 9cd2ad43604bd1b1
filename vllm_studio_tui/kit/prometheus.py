"""A tolerant reader of the Prometheus text format. Standard library only: the keeper imports it.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4, and of later ones the
quoted UTF-8 names and the exemplars, which are skipped). A line that cannot be understood is left out; nothing
here raises on any input, and what is kept is bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

Labels = dict[str, str]
Samples = dict[str, list[tuple[Labels, float]]]

#: Bytes or characters that are looked at; what follows is ignored.
MAX_SIZE = 8 * 1024 * 1024
#: Samples that are kept.
MAX_SAMPLES = 100_000
#: Longer lines are left out.
MAX_LINE = 16 * 1024
#: A sample with more labels is left out.
MAX_LABELS = 64

_LINE = re.compile(r"[^\n]+")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(
    r"""[ \t,]*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|"(?P<quoted>(?:[^"\\]|\\.)*)")"""
    r"""[ \t]*(?P<equals>=[ \t]*"(?P<value>(?:[^"\\]|\\.)*)")?""",
    re.DOTALL,
)
_END = re.compile(r"[ \t,]*\}")
_ESCAPE = re.compile(r'\\([\\n"])')


#: What stands before the values of lines, read once: labels are the same from one scrape to the next.
Heads = dict[str, tuple[str, Labels]]
#: Heads that are remembered.
MAX_HEADS = 8192


def parse(text: str | bytes, wanted: Collection[str] | None = None, heads: Heads | None = None) -> Samples:
    """Parse a scrape.

    Args:
        text: The body of a scrape. Bytes that are not UTF-8 are replaced.
        wanted: Full sample names (`x_total`, `y_bucket`); other lines are skipped without a closer look.
        heads: Remembers the labels of lines for the next scrape with the same `wanted`; they are shared, not copied.

    Returns:
        Sample name to pairs of labels and value, in the order of the text. NaN and infinities are kept.
    """
    text = text[:MAX_SIZE]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    samples: Samples = {}
    count = 0
    # Not splitlines(): a label value may hold any other character that Python takes for a line end.
    for found in _LINE.finditer(text):
        if found.end() - found.start() > MAX_LINE:
            continue
        line = found[0].strip(" \t\r")
        if not line or line[0] == "#":
            continue
        head = line[: line.find("}") + 1] if heads is not None else ""
        if head and heads is not None and (known := heads.get(head)) is not None:
            rest = line[len(head) :].split(None, 1)
            number = _number(rest[0]) if rest else None
            if number is not None:
                samples.setdefault(known[0], []).append((known[1], number))
                count += 1
                if count >= MAX_SAMPLES:
                    break
            continue
        match = _NAME.match(line)
        if wanted is not None and match is not None and match[0] not in wanted:
            continue
        sample = _sample(line, match)
        if sample is None or (wanted is not None and sample[0] not in wanted):
            continue
        name, labels, value = sample
        # A brace within a label would make two different heads look alike.
        if head and heads is not None and len(heads) < MAX_HEADS and line.count("}") == line.count("{") == 1:
            heads[head] = (name, labels)
        samples.setdefault(name, []).append((labels, value))
        count += 1
        if count >= MAX_SAMPLES:
            break
    return samples


def total(samples: Samples, names: Sequence[str]) -> float | None:
    """Return the sum over labels of the first name that exists; None if none does or it has no finite value."""
    return _sum(known(samples, names))


def mean(samples: Samples, names: Sequence[str]) -> float | None:
    """Return the mean over labels of the first name that exists; None as for `total`."""
    values = known(samples, names)
    whole = _sum(values)
    return None if whole is None else whole / len(values)


def _sum(values: Sequence[float]) -> float | None:
    """Return the sum; None for no values, and for a sum that is too large."""
    try:
        return math.fsum(values) if values else None
    except OverflowError:
        return None


def known(samples: Samples, names: Sequence[str]) -> list[float]:
    """Return the finite values of the first name that exists."""
    for name in names:
        if name in samples:
            return [value for _, value in samples[name] if math.isfinite(value)]
    return []


def buckets(samples: Samples, name: str) -> list[tuple[float, float]]:
    """Return the cumulative buckets of the histogram `name`, summed over its other labels.

    Returns:
        Pairs of upper edge and count, edges ascending, the last usually infinite. Empty without a histogram.
    """
    edges: dict[float, float] = {}
    for labels, value in samples.get(f"{name}_bucket", ()):
        edge = _number(labels.get("le", ""))
        if edge is not None and not math.isnan(edge) and math.isfinite(value):
            edges[edge] = edges.get(edge, 0.0) + value
    return sorted((edge, count) for edge, count in edges.items() if math.isfinite(count))


def _sample(line: str, match: re.Match[str] | None) -> tuple[str, Labels, float] | None:
    """Return one line as name, labels and value; None if it is not a sample."""
    name = match[0] if match is not None else ""
    rest = line[len(name) :].lstrip(" \t")
    if not name and not rest.startswith("{"):
        return None
    labels: Labels = {}
    if rest.startswith("{"):
        parsed = _labels(rest, name)
        if parsed is None:
            return None
        name, labels, end = parsed
        rest = rest[end:]
    elif rest == line[len(name) :]:
        return None  # no space between name and value: `a-b 1` is not a metric `a`
    parts = rest.split(None, 1)
    value = _number(parts[0]) if parts else None
    return None if value is None else (name, labels, value)


def _labels(text: str, name: str) -> tuple[str, Labels, int] | None:
    """Read `{...}` at the start of `text`; the end of it is the third value."""
    labels: Labels = {}
    at = 1
    while not (end := _END.match(text, at)):
        match = _LABEL.match(text, at)
        if match is None or len(labels) >= MAX_LABELS:
            return None
        key = match["name"] if match["quoted"] is None else _unescape(match["quoted"])
        if match["equals"] is not None:
            labels[key] = _unescape(match["value"])
        elif match["quoted"] is not None and not name:
            name = key  # the newer form {"metric.name", label="value"}
        else:
            return None
        at = match.end()
        if text[at : at + 1] not in (",", "}", " ", "\t"):
            return None
    return (name, labels, end.end()) if name else None


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], text)


def _number(text: str) -> float | None:
    """Parse a value of the format; unlike Python it has no `1_000`."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
