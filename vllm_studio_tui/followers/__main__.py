"""`python -m vllm_studio_tui.followers RUN_DIRECTORY [--stop [--force]]`

Follows the job of a run until it ends. `--stop` ends the job of a run whose follower is gone, and exits with 0 once it
is known to be gone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.followers.follower import Follower, end_job
from vllm_studio_tui.kit import safe_json

#: Seconds after which a job that cannot be ended is given up.
PATIENCE = 60.0


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    folder = Path(arguments[0])
    spec = RunSpec.from_json(safe_json.loads((folder / "spec.json").read_bytes()))
    if "--stop" in arguments:
        return 0 if end_job(folder, spec, force="--force" in arguments, patience=PATIENCE) else 1
    follower = Follower(folder, spec)
    follower.listen()
    return follower.run()


if __name__ == "__main__":
    sys.exit(main())
