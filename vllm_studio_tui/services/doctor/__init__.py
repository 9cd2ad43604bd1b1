"""The doctor: looks at everything a launch needs, and says what would mend it."""
