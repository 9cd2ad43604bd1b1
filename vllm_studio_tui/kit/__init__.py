"""General pieces that know nothing of this project."""
