"""Causes of failure in what an engine takes from outside: the hub's storage, network file systems, the GPU's driver."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.models import Row

#: What another start does not change.
OUTSIDE: tuple[Row, ...] = (
    (
        r"does not appear to support flock|No locks available|flock.{0,80}(?:Function not implemented|not supported)",
        "no_locks",
        "the file system that holds the cache of models cannot lock files",
        "Put the cache on a local disk (HF_HOME in env_vars), or have the share mounted with locks (Lustre: -o flock; "
        "NFS: its lock service).",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|certificate verify failed",
        "untrusted",
        "the certificate of the server from which it downloads is not trusted on this machine",
        "As a rule a proxy of the company stands between: name the file of its certificates in SSL_CERT_FILE and "
        "REQUESTS_CA_BUNDLE (env_vars). Else install ca-certificates, and see whether the clock is right.",
    ),
    (
        r"NVMLError_Unknown|Failed to initialize NVML: Unknown Error",
        "driver_state",
        "the NVIDIA driver does not answer (NVML: Unknown Error)",
        "A container lost its GPUs while it ran (a daemon-reload of systemd does that): start it again. Outside of one "
        "look for an Xid in `dmesg`, see whether nvidia-smi works, and reboot.",
    ),
    (
        r"CUDA unknown error - this may be due to",
        "driver_state",
        "the NVIDIA driver is there, but CUDA cannot be started (CUDA unknown error)",
        "As a rule the machine slept, or the module nvidia_uvm is not loaded: reload it (sudo rmmod nvidia_uvm; sudo "
        "modprobe nvidia_uvm) or reboot; start a container again. Also check CUDA_VISIBLE_DEVICES.",
    ),
)

#: What may be gone at the next start.
PASSING_OUTSIDE: tuple[Row, ...] = (
    (
        r"Consistency check failed: file should be of size (\d{1,20}) but has size (\d{1,20}) ?\(?([^)\s]{0,200})",
        "hub_cut",
        "the download of {3} was cut off: {2} of {1} bytes are there",
        "Download it again (hf download), and look whether the disk is full: `df -h`.",
    ),
    (
        r"CAS service error|cas-server\.xethub|Data processing error: .{0,40}(?:Xet|CAS)\b",
        "hub_storage",
        "a file of the model could not be had from the hub's storage (Xet)",
        "Try again, or download without Xet: HF_HUB_DISABLE_XET=1 in env_vars. A firewall or proxy must let "
        "cas-server.xethub.hf.co through.",
        {"env_vars.HF_HUB_DISABLE_XET": "1"},
    ),
)

#: What ends engines that serve, too.
LATE_OUTSIDE: tuple[Row, ...] = (
    (
        r"vk::DeviceLost|ErrorDeviceLost|ggml_vulkan: device lost",
        "gpu_broken",
        "a GPU was lost or crashed, or its driver was reset (Vulkan: device lost)",
        "Look in `dmesg` for the reset (amdgpu, i915, xe; NVIDIA: Xid). A smaller ubatch_size in extra_args makes its "
        "work shorter; upgrade the kernel and the driver (Mesa), or try another build (ROCm, CUDA, SYCL).",
    ),
)
