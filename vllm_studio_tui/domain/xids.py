"""What NVIDIA's numbers of errors in the kernel's log mean, in words, and what to do (NVIDIA's Xid catalogue)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from vllm_studio_tui.domain.gpus import Gpu, Xid

#: Seconds for which an error in the log is shown beside its GPU.
REMEMBER = 86_400.0


class Blame(StrEnum):
    """Who is likely to have done it."""

    PROGRAM = "program"
    DRIVER = "driver"
    LINK = "link"
    GPU = "gpu"


class Meaning(NamedTuple):
    """What an error is, who did it, and what to do."""

    words: str
    blame: Blame
    advice: str


_RESTART = "Restart the program; if it comes again, try another attention backend or an eager run."
_RESET = "End what runs on the GPU and reset it (`nvidia-smi --gpu-reset`), or reboot."
_REPLACE = "Reboot; if it comes again, the GPU or its seat has to be looked at."
_LINK = "Look at `nvidia-smi nvlink --status`; reset all GPUs on the link, or reboot."
_UPDATE = "Reset the GPU; a newer driver often has it corrected."

MEANINGS: Mapping[int, Meaning] = {
    8: Meaning("a program did not come to an end in time", Blame.PROGRAM, _RESTART),
    13: Meaning("a program's kernel failed", Blame.PROGRAM, _RESTART),
    31: Meaning("a program reached for memory that is not its own", Blame.PROGRAM, _RESTART),
    32: Meaning("commands arrived broken", Blame.LINK, _REPLACE),
    38: Meaning("the driver's firmware failed", Blame.DRIVER, _UPDATE),
    43: Meaning("a program's work was stopped", Blame.PROGRAM, _RESTART),
    44: Meaning("a program's work was stopped", Blame.PROGRAM, _RESTART),
    45: Meaning("a program was ended and its work dropped", Blame.PROGRAM, _RESTART),
    48: Meaning("memory error that cost data", Blame.GPU, _RESET),
    61: Meaning("its controller stopped", Blame.GPU, _RESET),
    62: Meaning("its controller stopped", Blame.GPU, _RESET),
    63: Meaning("a bad row of memory was put aside", Blame.GPU, "It takes effect with the next reset of the GPU."),
    64: Meaning("a bad row of memory could not be put aside", Blame.GPU, _REPLACE),
    69: Meaning("a program's kernel failed", Blame.PROGRAM, _RESTART),
    74: Meaning("NVLink error", Blame.LINK, _LINK),
    79: Meaning("it has fallen off the bus", Blame.GPU, "Reboot; look at its power, its heat and its seat."),
    92: Meaning("many memory errors, all corrected", Blame.GPU, "Watch it: such a memory often fails later."),
    94: Meaning("memory error, one program was ended", Blame.GPU, "Reset the GPU when nothing runs on it."),
    95: Meaning("memory error, any program on it may be wrong", Blame.GPU, _RESET),
    109: Meaning("a program did not let go in time", Blame.DRIVER, _UPDATE),
    110: Meaning("its security processor refused", Blame.GPU, _REPLACE),
    119: Meaning("its system processor does not answer", Blame.DRIVER, _UPDATE),
    120: Meaning("its system processor failed", Blame.DRIVER, _UPDATE),
    121: Meaning("errors between processor and GPU, corrected", Blame.LINK, _LINK),
    137: Meaning("NVLink refused a program's access", Blame.PROGRAM, _RESTART),
    140: Meaning("memory error that was not recovered", Blame.GPU, _RESET),
    143: Meaning("it could not be started", Blame.GPU, _REPLACE),
    **{code: Meaning("NVLink error", Blame.LINK, _LINK) for code in range(144, 151)},
    154: Meaning("it asks for a reset", Blame.GPU, _RESET),
}  # fmt: skip


def words(xid: Xid) -> str:
    """Return an error as it is shown; what NVIDIA wrote is not in it."""
    known = MEANINGS.get(xid.code)
    return f"Xid {xid.code}: {known.words}" if known else f"Xid {xid.code}"


def serious(xids: Sequence[Xid], since: float) -> Xid | None:
    """Return the latest error since a time of which a GPU, its link or its driver is to blame; None: there is none."""
    for one in reversed(xids):
        if one.at >= since and (one.code not in MEANINGS or MEANINGS[one.code].blame is not Blame.PROGRAM):
            return one
    return None


def trouble_of(gpu: Gpu, at: float) -> str | None:
    """Return the worst that is wrong with a GPU that answers, in words; None: nothing is.

    Args:
        at: Now, in seconds since the epoch: what lies longer back than `REMEMBER` is not told any more.
    """
    if gpu.trouble is not None:
        return gpu.trouble
    xid = serious(gpu.xids, at - REMEMBER)
    if xid is not None:
        return words(xid)
    if gpu.ecc_uncorrected:
        return f"{gpu.ecc_uncorrected} memory error{'s' if gpu.ecc_uncorrected > 1 else ''} not corrected"
    return None
