"""The monitor: GPUs, engines and the host over time."""
