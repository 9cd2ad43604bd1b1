"""The metrics of engines: reading, naming, quantiles."""
