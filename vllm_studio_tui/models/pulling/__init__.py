"""Downloads from a hub: what is chosen of a repository, each download's directory, and the process that works on it."""
