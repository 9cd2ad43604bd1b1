"""Models and downloads that stand still, for the screens: what they do with them is written down here."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.functional.stage import GIB, NOW
from vllm_studio_tui.domain.download import Cancelled, Download, DownloadPlan, DownloadState, PlannedFile
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.fit import Fit, FitQuestion, Range
from vllm_studio_tui.domain.model import Deletion, Model, ModelDetail, ModelFile, ModelPlace, ModelScan
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.protocols import FitApi
from vllm_studio_tui.studio import Studio


def model(name: str, gib: float, parameters: float, **fields: object) -> Model:
    """A model of the folder `/srv/models`, whole unless said otherwise."""
    one = Model(
        path=f"/srv/models/{name}", name=name, bytes=int(gib * GIB), source="folder", origin="/srv/models",
        kind="safetensors", architecture="LlamaForCausalLM", parameters=int(parameters * 1e9), quantization="bf16",
        context=131_072, complete=True, missing="", recipes=(), last_run=None, modified=NOW - 86_400 * 9,
    )  # fmt: skip
    return replace(one, **fields)  # type: ignore[arg-type]


MODELS = (
    model("Qwen3-32B", 61.0, 32.8, architecture="Qwen3ForCausalLM", context=40_960, recipes=("qwen3-32b",),
          last_run=NOW - 7200, source="hub", path="Qwen/Qwen3-32B"),
    model("DeepSeek-R1-Distill-Llama-70B", 131.4, 70.6, recipes=("deepseek-r1-70b",), last_run=NOW - 100),
    model("Llama-3.3-70B-Instruct", 131.4, 70.6, recipes=("llama-3.3-70b",), last_run=NOW - 688),
    model("gemma-3-12b-it", 22.7, 12.2, architecture="Gemma3ForConditionalGeneration",
          recipes=("gemma-3-12b", "gemma-3-12b-long"), last_run=NOW - 86_400 * 1.2),
    model("Qwen3-30B-A3B-Q4_K_M.gguf", 17.3, 30.5, architecture="qwen3moe", kind="gguf", quantization="Q4_K_M",
          context=40_960, source="lmstudio", origin="/home/ada/.lmstudio/models"),
    model("Mistral-Small-24B", 33.1, 24.0, architecture="MistralForCausalLM", complete=False,
          missing="3 of 10 files are missing: model-00008-of-00010.safetensors and 2 more"),
    model("SmolLM2-135M-Instruct", 0.25, 0.135, context=8192, source="demo"),
)  # fmt: skip
COMING = (
    Download("gpt-oss", "openai/gpt-oss-120b", "main", DownloadState.RUNNING, bytes_done=int(21.4 * GIB),
             bytes_total=int(60.8 * GIB), speed=412 * 1024**2, seconds_left=98.0, path="/hub/gpt-oss-120b",
             files_done=5, files_total=15, started=NOW - 60, changed=NOW),
    Download("qwen3", "Qwen/Qwen3-235B-A22B-FP8", "main", DownloadState.PAUSED, bytes_done=int(88.1 * GIB),
             bytes_total=int(220.2 * GIB), files_done=9, files_total=24, started=NOW - 90_000, changed=NOW - 86_400),
)  # fmt: skip
FAILED = Download(
    "gated", "meta-llama/Llama-3.3-8B", "main", DownloadState.FAILED, bytes_total=16 * GIB,
    error="the hub gives it only to those who accepted its terms",
    advice="Accept them at https://huggingface.co/meta-llama/Llama-3.3-8B, then go on.", started=NOW - 50, changed=NOW,
)  # fmt: skip
SUGGESTED = (("tool_call_parser", "hermes", "its template"), ("reasoning_parser", "qwen3", "its family"))
PLACES = (
    ModelPlace("/srv/models", "folder", "models_dirs", there=True, troubles=()),
    ModelPlace("/home/ada/.cache/huggingface/hub", "hub", "HF_HUB_CACHE", there=False),
)
HOSTILE = "x\x1b[31m\x9b2J\u202eevil[red]"


class StillModels:
    """The models of `MODELS`, or others."""

    def __init__(self, models: Sequence[Model] = MODELS) -> None:
        self.models = list(models)
        self.calls: list[tuple[str, str]] = []

    def list(self, *, fresh: bool = False) -> list[Model]:
        self.calls.append(("list", "fresh" if fresh else ""))
        return list(self.models)

    def _find(self, name: str) -> Model:
        found = next((one for one in self.models if name in (one.path, one.name)), None)
        if found is None:
            raise NotFound(f"no such model: {name}")
        return found

    def show(self, name: str) -> ModelDetail:
        one = self._find(name)
        weights = (ModelFile(f"{one.path}/model.safetensors", one.bytes, "weights"),)
        return ModelDetail(
            one, (*weights, ModelFile(f"{one.path}/config.json", 900, "config")), suggestions=SUGGESTED,
            about={"license": "apache-2.0"}, notes=("Its template leaves thinking out of earlier turns.",),
        )  # fmt: skip

    def scan(self, folder: str | None = None) -> ModelScan:
        self.calls.append(("scan", folder or ""))
        return ModelScan(tuple(self.models), PLACES)

    def deletion(self, name: str) -> Deletion:
        one = self._find(name)
        refused = "it is loaded by the run qwen3-32b-1." if name == "Qwen/Qwen3-32B" else ""
        owner = "LM Studio" if one.source == "lmstudio" else ""
        return Deletion(one, one.bytes, recipes=one.recipes, refused=refused, owner=owner, advice="Stop it first.")

    def delete(self, name: str, *, of_others: bool = False) -> Deletion:
        found = self.deletion(name)
        self.calls.append(("delete", f"{name}!" if of_others else name))
        self.models.remove(found.model)
        return replace(found, done=True)


class StillDownloads:
    """Downloads that change when they are told to."""

    def __init__(self, downloads: Sequence[Download] = COMING) -> None:
        self.downloads = {one.id: one for one in downloads}
        self.calls: list[tuple[str, str]] = []
        self.planned: DownloadPlan | None = None

    def list(self) -> builtins.list[Download]:
        return list(self.downloads.values())

    def get(self, download_id: str) -> Download:
        return self.downloads[download_id]

    def _become(self, verb: str, download_id: str, state: DownloadState) -> Download:
        self.calls.append((verb, download_id))
        one = self.downloads[download_id] = replace(self.downloads[download_id], state=state, speed=None)
        return one

    def plan(
        self, repo: str, *, revision: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> DownloadPlan:
        self.calls.append(("plan", "@".join([repo, *([revision] if revision else []), *include])))
        name = "org/tiny" if "://" in repo else repo
        return self.planned or DownloadPlan(
            name, revision or "main", "b5c939d",
            (PlannedFile("model.safetensors", GIB, "0" * 64), PlannedFile("config.json", 900, "0" * 40)),
            folder="/hub", room=100 * GIB, licence="apache-2.0", page=f"https://huggingface.co/{repo}",
        )  # fmt: skip

    def start(
        self, repo: str, *, revision: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Download:
        self.calls.append(("start", "@".join([repo, *([revision] if revision else []), *include])))
        one = Download("new", repo, revision or "main", DownloadState.RUNNING, bytes_total=GIB, started=NOW)
        self.downloads[one.id] = one
        return one

    def pause(self, download_id: str) -> Download:
        return self._become("pause", download_id, DownloadState.PAUSED)

    def resume(self, download_id: str) -> Download:
        return self._become("resume", download_id, DownloadState.RUNNING)

    def cancel(self, download_id: str) -> Cancelled:
        self.calls.append(("cancel", download_id))
        one = self.downloads.pop(download_id)
        return Cancelled(one, one.bytes_done)

    def forget(self, download_id: str) -> None:
        self.calls.append(("forget", download_id))
        del self.downloads[download_id]


class StillFit:
    """What fits of `MODELS` on GPUs of 80 GB: so many bytes for each weight and token."""

    GPU = 71 * GIB

    def __init__(self, models: Sequence[Model], real: FitApi) -> None:
        self._models = {one.path: one for one in models}
        self._real = real

    def question(self, recipe: Recipe | None = None, gpus: int = 1) -> FitQuestion:
        return FitQuestion(gpus=gpus, tensor_parallel=gpus, memory=80 * GIB, held=30 * GIB)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)  # of other models nothing else is known than is

    def of_model(self, model: str, question: FitQuestion, backend: str | None = None) -> Fit:
        one = self._models.get(model)
        if one is None or one.kind == "gguf":
            raise StudioError(f"nothing can be said of {model}")
        if question.held:  # the column of the screen says what fits on empty GPUs
            return self._real.of_model(model, question, backend)
        context, token = question.context or 0, 256 * 1024
        room = max(0, self.GPU * question.gpus - one.bytes)
        parts = {"weights": Range(*[one.bytes // question.gpus] * 3), "kv": Range(*[context * token] * 3)}
        return Fit(
            parts, self.GPU, 80 * GIB, context, question.users, one.bytes, token, Range(room, room, room),
            room // token, min(one.context or 0, room // token), room // (token * context), one.context,
            gpus=question.gpus,
        )  # fmt: skip


def with_models(studio: Studio, models: Sequence[Model] = MODELS, downloads: Sequence[Download] = COMING) -> None:
    """Put these on the stage."""
    given = studio.__dict__
    given["models"], given["downloads"] = StillModels(models), StillDownloads(downloads)
    given["fit"] = StillFit(models, studio.fit)
