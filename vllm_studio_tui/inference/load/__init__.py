"""Many streams at once, light: what benchmarks ask engines with."""
