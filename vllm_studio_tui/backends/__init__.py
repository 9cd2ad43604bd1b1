"""One file per kind of engine, and the registry that lists them."""
