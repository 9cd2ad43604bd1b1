"""The models that lie on this machine, in every store that other programs have: found by looking, never by asking."""
