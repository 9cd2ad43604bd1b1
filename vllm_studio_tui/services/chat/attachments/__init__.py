"""Files that go with a question: read within bounds, made ready to be sent, shown and kept."""
