"""LiteLLM in an environment of its own, in front of `serve`: installed, started, watched and stopped from here.

`inside_start` and `inside_callback` run in that environment: the standard library and LiteLLM are all they have.
"""
