"""Whether a model fits on GPUs, for how long texts and how many at once. The formulas: docs/reference/fit.md."""
