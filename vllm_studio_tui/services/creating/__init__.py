"""From a model to a recipe, on this machine: the engine, the GPUs, how long and for how many, with the reasons."""
