"""The studio's own API, a file for each noun: with the names and shapes of the original's controller."""
