"""Real inference servers on a CPU."""
