"""Every action there is with its keys, and the keys that a person chose instead."""
