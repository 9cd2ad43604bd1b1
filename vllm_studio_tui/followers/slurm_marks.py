"""What a script of ours tells, and the follower reads."""

from __future__ import annotations

#: Begins the line of the log, and stands in the job's comment, before the head's name and the port: `SERVES n1:8000`.
SERVES = "vllm-studio serves at "
#: The exit code of a script that was told that its time limit is near, and seconds before the limit.
LIMIT_CODE, LIMIT_SECONDS = 124, 30
#: Ports after the wanted one that are tried on a node.
PORTS = 200
