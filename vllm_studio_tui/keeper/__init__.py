"""The process that owns one run. Started as a program, self-contained."""
