"""One file per kind of engine, and the registry that lists them."""

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
