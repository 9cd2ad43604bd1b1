"""Start LiteLLM's proxy with an environment of which only what it needs is left. Run by the gateway's interpreter."""

from __future__ import annotations

import os
import sys

#: Variables that are left, beside those that are named in `GATEWAY_KEEP`.
KEPT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VLLM_STUDIO_RUN", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
#: No price table from the network, no `.env` of the working directory, no pages of documentation.
SET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "NO_DOCS": "True", "NO_REDOC": "True"}


def empty_environment() -> None:
    """Take out of the environment what LiteLLM would find there of others: keys of providers, proxies, settings."""
    kept = {*KEPT, *os.environ.get("GATEWAY_KEEP", "").split(",")}
    for name in list(os.environ):
        if name not in kept:
            del os.environ[name]
    os.environ.update(SET)


if __name__ == "__main__":
    empty_environment()
    from litellm import run_server

    sys.argv[0] = "litellm"
    run_server()
