"""GPUs through NVML: one guarded call at a time, in a worker process where it matters."""
