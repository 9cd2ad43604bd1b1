"""The command-line face: one file per noun."""

#: Names the studio that a command line is for, where no option does.
CONNECT = "VLLM_STUDIO_CONNECT"
