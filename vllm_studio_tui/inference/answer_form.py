"""Whether an answer has the form that was asked for.

Schemas and expressions are looked at by a process of its own, which is ended after a while: an expression may take for
ever, and what reads schemas is not needed otherwise.

    python -m vllm_studio_tui.inference.answer_form < {"form": .., "text": ..}
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from vllm_studio_tui.domain.sampling import AnswerForm, read_form

#: Seconds that looking may take.
PATIENCE = 10.0
#: Longer answers are not looked at.
MOST = 4 * 1024 * 1024


def look_at(form: AnswerForm, text: str) -> dict[str, Any]:
    """Return the form, with `valid` (None: it was not looked at) and `problem`, what is wrong. Blocking."""
    valid, problem = _look(form, text)
    return {**form.to_json(), "valid": valid, "problem": problem}


def _look(form: AnswerForm, text: str) -> tuple[bool | None, str]:
    if len(text) > MOST:
        return None, "the answer is too long to be looked at"
    if form.kind in ("json_object", "choice"):
        return judge(form, text)
    if form.kind == "grammar":
        return None, "only the engine reads the grammar"
    asked = json.dumps({"form": form.to_json(), "text": text}).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name], input=asked, capture_output=True, timeout=PATIENCE, check=True
        )
        valid, problem = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return None, f"it took more than {PATIENCE:g} s to look at"
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return None, f"it could not be looked at: {type(error).__name__}"
    return valid, problem


def judge(form: AnswerForm, text: str) -> tuple[bool | None, str]:
    """Return whether a text has a form, and what is wrong. It may take for ever."""
    if form.kind == "choice":
        return (True, "") if text.strip() in form.value else (False, "it is none of the texts to choose from")
    if form.kind == "regex":
        try:
            found = re.fullmatch(form.value, text.strip())
        except re.error as error:
            return None, f"Python does not read the expression: {error}"
        return (True, "") if found else (False, "it does not match the expression")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return False, f"not JSON: {str(error)[:200]}" if text.strip() else "nothing came"
    if form.kind == "json_object":
        return (True, "") if isinstance(value, dict) else (False, "JSON, but no object")
    return _by_schema(form.value, value)


def _by_schema(schema: Any, value: Any) -> tuple[bool | None, str]:
    import jsonschema
    import referencing
    import referencing.exceptions

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        # Without this registry a schema's references would be fetched from the network.
        found = next(iter(kind(schema, registry=referencing.Registry()).iter_errors(value)), None)
    except jsonschema.SchemaError as error:
        return None, f"the schema is none: {error.message[:200]}"
    except referencing.exceptions.Unresolvable as error:
        return None, f"the schema refers to what is not in it: {str(error)[:100]}"
    if found is None:
        return True, ""
    where = "/".join(str(part) for part in found.absolute_path)
    return False, f"{where + ': ' if where else ''}{found.message[:300]}"


def main() -> None:
    asked = json.load(sys.stdin)
    json.dump(judge(read_form(asked["form"]), asked["text"]), sys.stdout)


if __name__ == "__main__":
    main()
