"""The doctor on the terminal, the limits of this session, and the kernel."""

from __future__ import annotations

import os
import pwd
import re
import resource
import shutil
import signal
from pathlib import Path

from vllm_studio_tui.config.startup import read_startup_settings
from vllm_studio_tui.domain.check import Check, fail, ok, warn
from vllm_studio_tui.probes.terminal import INDEXED, NONE, TRUE, colours_of, look_at_terminal, overridden
from vllm_studio_tui.services.doctor.context import Ground, ask

#: Engines open a file for each connection, shard and worker.
FILES_WANTED = 4096
#: NCCL and the workers of tensor parallelism talk through it; Docker's default is 64 MB.
SHM_WANTED = 1 << 30


def terminal(ground: Ground) -> Check:
    """Check the name of the terminal (TERM), and tell what it can do."""
    term = ground.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        return warn(f"TERM is {term or 'not set'}", "Log in with a terminal (ssh -t), or set TERM=xterm-256color.")
    settings = read_startup_settings(ground.places.settings_file, ground.environ)
    found = overridden(
        look_at_terminal(ground.environ, ground.answers),
        colours=settings.colours,
        background=settings.background,
        multiplexer=settings.multiplexer,
    )
    return ok(f"{term}: {found.words()}")


def colours(ground: Ground) -> Check:
    """Check how many colours can be shown."""
    found = colours_of(ground.environ)
    term = ground.environ.get("TERM", "")
    if found == NONE:
        return ok("none, as NO_COLOR asks")
    if found == TRUE:
        return ok("16 million")
    if found == INDEXED:
        return ok("256; COLORTERM=truecolor would give all, where the terminal has them")
    return warn(f"8 or 16 (TERM={term or 'not set'})", "Set TERM=xterm-256color if the terminal has more colours.")


def locale(ground: Ground) -> Check:
    """Check whether the locale is UTF-8."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = ground.environ.get(name)
        if value:
            if re.search(r"utf-?8", value, re.I):
                return ok(f"{name}={value}")
            return warn(f"{name}={value} is not UTF-8", "export LC_ALL=C.UTF-8, or start with --ascii.")
    return warn("no locale is set", "export LANG=C.UTF-8, or start with --ascii.")


def tmux(ground: Ground) -> Check:
    """Check whether tmux passes on copied text and pictures."""
    if not ground.environ.get("TMUX"):
        inside = "GNU screen" if ground.environ.get("STY") else "not inside tmux"
        return ok(inside)
    program = shutil.which("tmux", path=ground.environ.get("PATH"))
    clipboard = ask([program, "show-options", "-gsv", "set-clipboard"], ground.environ) if program else None
    if program is None or clipboard is None:
        return warn("inside tmux, which does not answer", "Copying may not reach your clipboard.")
    passthrough = ask([program, "show-options", "-gwv", "allow-passthrough"], ground.environ)
    found = f"set-clipboard {clipboard}, allow-passthrough {passthrough or 'unknown'}"
    features = ask([program, "display-message", "-p", "#{client_termfeatures}"], ground.environ)
    if features and "clipboard" not in features.split(","):
        return warn(
            found,
            "Copying does not reach your clipboard: tmux set -as terminal-features ',*:clipboard', detach, attach.",
        )
    return ok(found)


def open_files(ground: Ground) -> Check:
    """Check how many files an engine may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_WANTED:
        return ok("no limit" if soft == resource.RLIM_INFINITY else str(soft))
    if hard == resource.RLIM_INFINITY or hard >= FILES_WANTED:
        return warn(str(soft), "Before launching: ulimit -n " + (str(hard) if hard > 0 else "65536"))
    return warn(f"{soft}, at most {hard}", "Raise nofile in /etc/security/limits.conf and log in again.")


def shared_memory(ground: Ground) -> Check:
    """Check how large /dev/shm is."""
    folder = ground.root / "dev/shm"
    if not folder.is_dir():
        return warn("there is no /dev/shm", "Engines with several GPUs need it: mount a tmpfs there.")
    space = os.statvfs(folder)
    size = space.f_frsize * space.f_blocks
    found = f"{size / 2**30:.1f} GiB, {space.f_frsize * space.f_bavail / 2**30:.1f} free"
    if size < SHM_WANTED:
        return warn(found, "Several GPUs need more: start the container with --ipc=host or --shm-size=8g.")
    return ok(found)


def logout(ground: Ground) -> Check:
    """Check whether logind ends a person's processes when they log out, which would end every run."""
    if not (ground.root / "run/systemd/system").is_dir():
        return ok("no systemd: nothing is ended at logout")
    killing, where = _kill_user_processes(ground.root)
    if not killing:
        return ok("KillUserProcesses is off: runs go on after logout")
    user = pwd.getpwuid(os.getuid()).pw_name
    if _lingers(ground, user):
        return ok(f"KillUserProcesses is on, and {user} lingers: runs go on after logout")
    return fail(
        f"KillUserProcesses is on ({where}) and {user} does not linger: logging out ends every run",
        f"loginctl enable-linger {user}, and launch from a user service; or KillUserProcesses=no in logind.conf.",
    )


def _kill_user_processes(root: Path) -> tuple[bool, str]:
    """Return KillUserProcesses and the file that sets it.

    As logind.conf(5): the first main file, then every drop-in file by name.
    """
    folders = [root / "etc/systemd", root / "run/systemd", root / "usr/local/lib/systemd", root / "usr/lib/systemd"]
    files = [folder / "logind.conf" for folder in folders if (folder / "logind.conf").is_file()][:1]
    drops: dict[str, Path] = {}
    for folder in reversed(folders):
        drops.update({one.name: one for one in (folder / "logind.conf.d").glob("*.conf")})
    killing, where = False, ""
    for file in [*files, *(drops[name] for name in sorted(drops))]:
        with file.open("rb") as stream:
            text = stream.read(1 << 16).decode("utf-8", errors="replace")
        for value in re.findall(r"(?m)^[ \t]*KillUserProcesses[ \t]*=[ \t]*(\w*)", text):
            killing, where = value.lower() in ("1", "yes", "y", "true", "t", "on"), str(file)
    return killing, where


def _lingers(ground: Ground, user: str) -> bool:
    if (ground.root / "var/lib/systemd/linger" / user).exists():
        return True
    program = shutil.which("loginctl", path=ground.environ.get("PATH"))
    return bool(program) and ask([str(program), "show-user", user, "--property=Linger"], ground.environ) == "Linger=yes"


def pidfd(ground: Ground) -> Check:
    """Check whether a process can be signalled without ever hitting another that got its number."""
    try:
        handle = os.pidfd_open(os.getpid())
    except (OSError, AttributeError):
        return fail("pidfd_open is not possible", "Linux 5.3 or later is needed; a container's seccomp may forbid it.")
    try:
        signal.pidfd_send_signal(handle, 0)
    except OSError:
        return fail("pidfd_send_signal is not possible", "Linux 5.1 or later; a container's seccomp may forbid it.")
    finally:
        os.close(handle)
    return ok(f"pidfd works, Linux {os.uname().release}")
