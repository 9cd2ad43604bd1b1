"""Why engines fail: lines of their logs, the cause in words, what to do, and the change of a recipe that answers it.

One table for all engines, since wrappers, shared libraries and the hub print the same lines in each. The lines were
taken from the engines' sources (vLLM 0.33, SGLang 0.5.23, llama.cpp) and from recorded runs; a warning or the log of
a start that succeeded must match none of them.

To add a cause, add one row to the file of its subject, and a line that an engine prints to `SAMPLES` in
`tests/contract/test_failures.py`:

- Use `start_failure` for what keeps an engine from starting every time (`restart=True`: the next try may go well), and
  `Failure` for what can also end an engine that serves (`restart=False`: another try is of no use before it served).
- Patterns are searched in single lines without regard to case. Of one line the first row that matches counts, in the
  order of `FAILURES`: put the particular before the general.
- Each branch of a pattern needs a plain word of some length: a row whose words are nowhere in a log costs next to
  nothing (`keeper.prefilter`). Bound what repeats (`.{0,80}`): logs are hostile.
- `{1}` in title, advice and fixes is the first group of the match.
- `fixes` is what can be changed in a recipe, the best first: fields and values as data, or the name of a rule of
  `services/launching/fixes.py`.
"""

from __future__ import annotations

from vllm_studio_tui.backends.failures.adapters import ADAPTERS
from vllm_studio_tui.backends.failures.arguments import ARGUMENTS
from vllm_studio_tui.backends.failures.compilers import COMPILERS
from vllm_studio_tui.backends.failures.containers import CONTAINERS
from vllm_studio_tui.backends.failures.environments import ENVIRONMENTS
from vllm_studio_tui.backends.failures.general import GENERAL
from vllm_studio_tui.backends.failures.gpus import GPUS
from vllm_studio_tui.backends.failures.hub import HUB
from vllm_studio_tui.backends.failures.libraries import LIBRARIES
from vllm_studio_tui.backends.failures.memory import MEMORY
from vllm_studio_tui.backends.failures.models import MODELS
from vllm_studio_tui.backends.failures.network import NETWORK
from vllm_studio_tui.backends.failures.parallelism import PARALLELISM
from vllm_studio_tui.backends.failures.ranks import RANKS
from vllm_studio_tui.backends.failures.services import SERVICES
from vllm_studio_tui.backends.failures.system import SYSTEM
from vllm_studio_tui.domain.spec import Failure

FAILURES: tuple[Failure, ...] = (
    *CONTAINERS,
    *SERVICES,
    *MEMORY,
    *PARALLELISM,
    *RANKS,
    *ADAPTERS,
    *HUB,
    *MODELS,
    *LIBRARIES,
    *GPUS,
    *COMPILERS,
    *ENVIRONMENTS,
    *SYSTEM,
    *NETWORK,
    *ARGUMENTS,
    *GENERAL,
)
