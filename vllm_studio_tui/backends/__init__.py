"""One file per kind of engine, and the registry that lists them."""

from typing import NamedTuple

#: Our engines: the file of each is called as recipes name it, and this is the class in it.
#: Here, because the help of commands names them, and what the registry imports would slow every command.
CLASSES = {
    "vllm": "Vllm",
    "sglang": "SGLang",
    "transformers": "Transformers",
    "tabbyapi": "TabbyAPI",
    "llamacpp": "LlamaCpp",
    "custom": "Custom",
    "external": "External",
}


class InTables(NamedTuple):
    """What tables show of an engine: its short title, and whether it takes the first GPUs unless told others."""

    label: str
    takes_first_gpus: bool = False


#: Copies of these two facts, for the first picture: importing the engines of its recipes would hold it up for a third.
#: An engine without a row is imported instead; that a row says what the engine's file says is tested.
IN_TABLES = {
    "vllm": InTables("vLLM", takes_first_gpus=True),
    "sglang": InTables("SGLang", takes_first_gpus=True),
    "transformers": InTables("Transformers"),
    "tabbyapi": InTables("TabbyAPI"),
    "llamacpp": InTables("llama.cpp"),
    "custom": InTables("custom"),
    "external": InTables("external"),
}
