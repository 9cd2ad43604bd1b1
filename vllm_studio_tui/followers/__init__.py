"""What a keeper owns in place of an engine that runs elsewhere: on other hosts, or as a job of a scheduler."""
