"""A simulated engine and simulated GPUs, for people and tests without hardware."""
