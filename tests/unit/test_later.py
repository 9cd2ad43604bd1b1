"""Modules that are imported when something of them is first used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

from vllm_studio_tui.kit import later


def answer(code: str) -> str:
    begin = "import sys; from vllm_studio_tui.kit import later; later.stand_in('inspect'); "
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_a_module_is_imported_with_its_first_use_and_is_then_the_one_that_all_have() -> None:
    code = "import inspect; print('dis' in sys.modules, inspect.isclass(int), 'dis' in sys.modules); "
    code += "here = inspect.signature; import inspect; print(here is inspect.signature, inspect.__file__[-10:])"
    assert answer(code).split() == ["False", "True", "True", "True", "inspect.py"]


def test_names_may_be_taken_from_it_and_dataclasses_get_their_text_from_it() -> None:
    code = "from inspect import isclass; print(isclass(int)); "
    code += "import dataclasses; print(dataclasses.make_dataclass('A', ['b']).__doc__)"
    assert answer(code).split("\n") == ["True", "A(b: 'typing.Any')"]


def test_what_is_imported_already_stays() -> None:
    before = sys.modules["subprocess"]
    later.stand_in("subprocess")
    assert sys.modules["subprocess"] is before and type(before) is ModuleType
