"""Why an engine is slow: rules over what was measured around a moment."""
