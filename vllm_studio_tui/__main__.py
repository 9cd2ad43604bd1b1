"""The command `vllm-studio`. What must be quick is answered before anything large is imported."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code."""
    argv = sys.argv[1:]
    if argv == ["--version"]:
        from vllm_studio_tui import __version__

        sys.stdout.write(f"vllm-studio {__version__}\n")
        return 0
    if argv[:1] == ["status"]:
        from vllm_studio_tui.cli import status

        code = status.quick(argv)
        if code is not None:
            return code
    if argv[:1] == ["gpus"]:
        from vllm_studio_tui.cli import gpus

        code = gpus.quick(argv)
        if code is not None:
            return code
    from vllm_studio_tui.cli.app import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
