"""The tree keeps its order: no circle of imports, no file of two rooms, an engine in one file."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import vllm_studio_tui
from vllm_studio_tui.backends.registry import OURS

ROOT = Path(vllm_studio_tui.__file__).parent
PACKAGE = "vllm_studio_tui"
#: Lines of a file; past this it holds two things.
LONGEST = 400
#: Files of `tui/` outside of its folders, beside `__init__.py`.
LOOSE = 6


def name_of(path: Path) -> str:
    parts = [PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def trees() -> Mapping[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports_of(name: str) -> tuple[str, ...]:
    """Our modules that a module imports, wherever it does: at its head, in a function, for the type checker."""
    return tuple(_imports(name, trees()))


def _imports(name: str, known: Mapping[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(known[name]):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.module in known:
            for one in node.names:
                inner = f"{node.module}.{one.name}"
                yield inner if inner in known else node.module


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of names of which each reaches every other one (Tarjan"s strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(arrows.get(name, ())):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(arrows):
        if name not in number:
            visit(name)
    return found


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_file_imports_itself_through_others() -> None:
    assert circles({name: set(imports_of(name)) - {name} for name in trees()}) == []


@pytest.mark.parametrize("screen", sorted(path.parent.name for path in (ROOT / "tui/screens").glob("*/__init__.py")))
def test_a_screen_is_a_folder_that_no_other_screen_looks_into(screen: str) -> None:
    assert (ROOT / "tui/screens" / screen / "place.py").is_file()
    inside = f"{PACKAGE}.tui.screens.{screen}"
    others = {
        name: [one for one in imports_of(name) if one.startswith(f"{inside}.")]
        for name in trees()
        if not name.startswith((f"{inside}.", inside))
    }
    assert {name: found for name, found in others.items() if found} == {}


def test_few_files_of_the_screens_lie_loose() -> None:
    loose = [path.name for path in (ROOT / "tui").glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= LOOSE, loose


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_no_package_is_empty() -> None:
    packages = [path.parent for path in ROOT.rglob("__init__.py")]
    empty = [name_of(one) for one in packages if not [path for path in one.rglob("*.py") if path.name != "__init__.py"]]
    assert empty == []


#: Where the name of an engine may stand outside of `backends/` and `simulation/`, and why.
NAMED: Mapping[str, str] = {
    f"{PACKAGE}.domain.recipe_engines": "what runs recipes for engines of the original product that are none here",
    f"{PACKAGE}.domain.recipe": "the kind of engine of a recipe that does not say",
    f"{PACKAGE}.domain.recipe_reading": "what a recipe of the original product meant by transformers",
    f"{PACKAGE}.services.render.production_stack": "the one engine that its chart runs",
}


def test_engines_are_named_in_their_own_files() -> None:
    engines = set(OURS) - {"custom", "external"}
    named: dict[str, set[str]] = {}
    for name, tree in trees().items():
        if name.startswith((f"{PACKAGE}.backends", f"{PACKAGE}.simulation")) or name in NAMED:
            continue
        found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in engines}
        if found:
            named[name] = found
    assert named == {}


#: What `tui/screens/chat/state.py` alone may change.
CHAT_STATE = {"session", "recipe", "settings", "queue", "waiting_for", "tree", "editing", "left_off", "drafts"}
#: Methods that change a list, a set or a dictionary.
CHANGING = {"append", "insert", "extend", "pop", "clear", "update", "setdefault", "remove"}


def changed_by(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a statement assigns to, deletes, or changes by a method of lists and dictionaries."""
    if isinstance(node, ast.Assign | ast.Delete):
        yield from node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        yield node.target
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        yield node.func.value


def test_the_state_of_the_chat_screen_is_changed_in_one_file() -> None:
    inside = f"{PACKAGE}.tui.screens.chat."
    found = [
        f"{name}:{target.lineno} {ast.unparse(target)}"
        for name, tree in trees().items()
        if name.startswith(inside) and name != f"{inside}state"
        for node in ast.walk(tree)
        for one in changed_by(node)
        for target in ast.walk(one)
        if isinstance(target, ast.Attribute) and target.attr in CHAT_STATE
    ]
    assert found == []
