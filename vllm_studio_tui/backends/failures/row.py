"""How the rows of the tables are written."""

from __future__ import annotations

from functools import partial

from vllm_studio_tui.domain.spec import Failure

#: A cause that can keep an engine from starting, and would at the next try, unless a row says otherwise.
start_failure = partial(Failure, restart=False, start_only=True)
