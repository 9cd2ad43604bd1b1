"""Real clusters, each in network namespaces of its own: out of the default run, by their markers."""
