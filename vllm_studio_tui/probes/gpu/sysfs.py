"""Read GPUs through the files that their drivers have in /sys: AMD's without its library, and a base for Intel's.

Their meaning is part of the kernel's documentation (amdgpu, hwmon, PCI), so nothing has to be installed.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from vllm_studio_tui.probes.gpu import as_nvml
from vllm_studio_tui.probes.gpu.as_nvml import AsNvml, ProviderError, generation_of

SYS = Path("/sys")
#: Characters of a file that are read.
MOST = 4096
AMD, INTEL, NVIDIA = "0x1002", "0x8086", "0x10de"
_CARD = re.compile(r"card\d{1,4}")
_BUS = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")


@dataclass(frozen=True)
class Card:
    """A GPU of the kernel: its folder among the cards, that of its PCI device, its place, and ids of the device."""

    card: Path
    device: Path
    bus: str
    vendor: str
    product: str
    hwmon: Path | None = None
    state: dict[str, tuple[float, int]] = field(default_factory=dict, compare=False)


def cards(root: Path = SYS) -> list[Card]:
    """Return the GPUs that the kernel has a driver for, by their place."""
    found: dict[str, Card] = {}
    try:
        folders = sorted((root / "class" / "drm").iterdir())
    except OSError:
        return []
    for folder in folders:
        if not _CARD.fullmatch(folder.name):
            continue
        try:
            device = (folder / "device").resolve(strict=True)
            vendor, product, kind = (_text(device / name) for name in ("vendor", "device", "class"))
        except (OSError, RuntimeError, ProviderError):
            continue
        if not _BUS.fullmatch(device.name) or not kind.startswith("0x03"):
            continue
        try:
            hwmon = next(iter(sorted((device / "hwmon").iterdir())), None)
        except OSError:
            hwmon = None
        found[device.name] = Card(folder, device, device.name, vendor, product, hwmon)
    return [found[bus] for bus in sorted(found)]


def unserved(root: Path = SYS) -> list[tuple[str, str]]:
    """Return vendor and place of each GPU on the PCI bus that no driver has taken."""
    found = []
    try:
        devices = sorted((root / "bus" / "pci" / "devices").iterdir())
    except OSError:
        return []
    for device in devices:
        try:
            kind, vendor = _text(device / "class"), _text(device / "vendor")
        except ProviderError:
            continue
        if kind.startswith("0x03") and vendor in (AMD, INTEL, NVIDIA) and not (device / "driver").exists():
            found.append((vendor, device.name))
    return found


def _text(path: Path) -> str:
    """Return what a file says.

    Raises:
        ProviderError: It is not there, or may not be read, or the GPU does not answer.
    """
    try:
        with path.open("rb") as file:
            return file.read(MOST).decode("utf-8", "replace").strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ProviderError(as_nvml.NOT_SUPPORTED) from error
    except PermissionError as error:
        raise ProviderError(as_nvml.NO_PERMISSION) from error
    except OSError as error:
        lost = error.errno in (errno.ENODEV, errno.ENXIO)
        code = as_nvml.GPU_IS_LOST if lost else as_nvml.NOT_SUPPORTED if error.errno == errno.EOPNOTSUPP else 999
        raise ProviderError(code, error.strerror or "") from error


def number(*paths: Path | None) -> int:
    """Return the number in the first of these files that is there.

    Raises:
        ProviderError: None is, or it holds no number.
    """
    problem = ProviderError(as_nvml.NOT_SUPPORTED)
    for path in paths:
        if path is None:
            continue
        try:
            text = _text(path)
            return int(text[:40], 0) if text.isascii() else _no_number()
        except ValueError:
            return _no_number()
        except ProviderError as error:
            problem = error if error.value != as_nvml.NOT_SUPPORTED else problem
    raise problem


def _no_number() -> int:
    raise ProviderError(as_nvml.UNKNOWN, "no number")


class SysfsLibrary(AsNvml):
    """The GPUs of one vendor, by NVML's names.

    Args:
        root: Where the kernel's files are.
    """

    code = ""
    named = ""

    def __init__(self, root: Path = SYS) -> None:
        super().__init__()
        self.root = root

    def find(self) -> list[Card]:
        return [one for one in cards(self.root) if one.vendor == self.code]

    def explain(self, error: Exception) -> tuple[str, str | None]:
        return f"The GPUs of {self.named} cannot be read: {str(error)[:128]}", None

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802, RUF100
        card: Card = self._handles[0]
        try:
            module = (card.device / "driver" / "module").resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise ProviderError(as_nvml.NOT_SUPPORTED) from error
        try:
            return f"{module.name} {_text(module / 'version')}"
        except ProviderError:
            return module.name  # it is part of the kernel

    def nvmlDeviceGetUUID(self, handle: Card) -> str:  # noqa: N802, RUF100
        try:
            return f"GPU-{_text(handle.device / 'unique_id')}"
        except ProviderError:
            return f"GPU-{self.vendor}-{handle.bus}"

    def nvmlDeviceGetName(self, handle: Card) -> str:  # noqa: N802, RUF100
        try:
            name = _text(handle.device / "product_name")
        except ProviderError:
            name = ""
        return name or f"{self.named} GPU {handle.product}"

    def nvmlDeviceGetPciInfo(self, handle: Card) -> SimpleNamespace:  # noqa: N802, RUF100
        return SimpleNamespace(busId=handle.bus)

    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: Card) -> int:  # noqa: N802, RUF100
        found = re.match(r"(\d{1,3}(?:\.\d)?) GT/s", _text(handle.device / "current_link_speed"))
        if found is None:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        return generation_of(float(found[1]) * 1000)

    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: Card) -> int:  # noqa: N802, RUF100
        return number(handle.device / "current_link_width")

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Card) -> int:  # noqa: N802, RUF100
        return number(self.of(handle, "power1_cap"), self.of(handle, "power1_max")) // 1000  # microwatts

    def nvmlDeviceGetTemperature(self, handle: Card, sensor: int) -> int:  # noqa: N802, RUF100
        del sensor
        return self.heat(handle, ("edge", "pkg", "junction"))

    def memory_temperature(self, handle: Card) -> int | None:
        return self.heat(handle, ("mem", "vram"))

    def of(self, handle: Card, name: str) -> Path | None:
        """Return a file of the GPU's sensors."""
        return None if handle.hwmon is None else handle.hwmon / name

    def heat(self, handle: Card, labels: Sequence[str]) -> int:
        """Return the degrees Celsius of the first of these sensors that there is."""
        if handle.hwmon is None:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        named: dict[str, int] = {}
        for index in range(1, 9):
            try:
                named[_text(handle.hwmon / f"temp{index}_label")] = index
            except ProviderError:
                continue
        index = next((named[label] for label in labels if label in named), 0)
        if not index:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        return number(handle.hwmon / f"temp{index}_input") // 1000


class AmdSysfs(SysfsLibrary):
    """AMD's GPUs, as the driver amdgpu tells of them."""

    vendor, code, named = "amd", AMD, "AMD"

    def nvmlDeviceGetMemoryInfo(self, handle: Card) -> SimpleNamespace:  # noqa: N802, RUF100
        total, used = (number(handle.device / f"mem_info_vram_{kind}") for kind in ("total", "used"))
        return SimpleNamespace(total=total, used=used)

    def nvmlDeviceGetUtilizationRates(self, handle: Card) -> SimpleNamespace:  # noqa: N802, RUF100
        try:
            memory: int | None = number(handle.device / "mem_busy_percent")
        except ProviderError:
            memory = None
        return SimpleNamespace(gpu=number(handle.device / "gpu_busy_percent"), memory=memory)

    def nvmlDeviceGetPowerUsage(self, handle: Card) -> int:  # noqa: N802, RUF100
        return number(self.of(handle, "power1_average"), self.of(handle, "power1_input")) // 1000

    def nvmlDeviceGetClockInfo(self, handle: Card, kind: int) -> int:  # noqa: N802, RUF100
        return number(self.of(handle, "freq1_input" if kind == self.NVML_CLOCK_SM else "freq2_input")) // 1_000_000

    def nvmlDeviceGetFanSpeed(self, handle: Card) -> int:  # noqa: N802, RUF100
        return round(number(self.of(handle, "pwm1")) * 100 / 255)

    def nvmlDeviceGetTotalEccErrors(self, handle: Card, kind: int, counter: int) -> int:  # noqa: N802, RUF100
        del counter
        name = "ce" if kind == self.NVML_MEMORY_ERROR_TYPE_CORRECTED else "ue"
        found = re.search(rf"^{name}: (\d{{1,15}})$", _text(handle.device / "ras" / "umc_err_count"), re.MULTILINE)
        if found is None:
            raise ProviderError(as_nvml.NOT_SUPPORTED)
        return int(found[1])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Card) -> list[SimpleNamespace]:  # noqa: N802, RUF100
        """Return the programs of ROCm on it, as the kernel's compute driver lists them."""
        node = self._node(handle)
        found = []
        try:
            for folder in (self.root / "class" / "kfd" / "kfd" / "proc").iterdir():
                if folder.name.isdigit() and (folder / f"vram_{node}").exists():
                    memory = number(folder / f"vram_{node}")
                    if memory:
                        found.append(SimpleNamespace(pid=int(folder.name), usedGpuMemory=memory))
        except FileNotFoundError as error:
            raise ProviderError(as_nvml.NOT_SUPPORTED) from error
        except OSError as error:
            raise ProviderError(as_nvml.NO_PERMISSION) from error
        return found

    def _node(self, handle: Card) -> int:
        """Return the number of a GPU for the compute driver."""
        domain, bus, device = handle.bus.split(":")
        slot, function = device.split(".")
        place = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)
        try:
            for node in (self.root / "class" / "kfd" / "kfd" / "topology" / "nodes").iterdir():
                words = _text(node / "properties").split()
                facts = dict(zip(words[::2], words[1::2], strict=False))
                if facts.get("location_id") == str(place) and int(facts.get("domain", "0")) == int(domain, 16):
                    return number(node / "gpu_id")
        except (OSError, ValueError) as error:
            raise ProviderError(as_nvml.NOT_SUPPORTED) from error
        raise ProviderError(as_nvml.NOT_SUPPORTED)
