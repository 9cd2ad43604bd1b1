"""What is said to a request that is not served."""

from __future__ import annotations

from vllm_studio_tui.domain.serving import Refusal

#: Where nothing is known of how long it takes.
SOON = 5.0


def queue_full(waiting: int, eta: float | None) -> Refusal:
    """Too many wait."""
    return Refusal(
        429,
        "queue_full",
        f"{waiting} requests wait already",
        advice="Try again later, or raise max_queue.",
        retry_after=_again(eta),
    )


def waited(key: str, seconds: float, eta: float | None) -> Refusal:
    """Its turn did not come."""
    return Refusal(
        503,
        "model_timeout",
        f"{key} was not ready within {seconds:g} s",
        advice="Try again later, or raise max_wait.",
        retry_after=_again(eta),
    )


def too_many(key: str, limit: int, seconds: float) -> Refusal:
    """The model answers as many requests as it may."""
    return Refusal(
        429,
        "model_busy",
        f"{key} answers {limit} requests at once, and none of them ended within {seconds:g} s",
        advice="Try again later, or raise max_concurrent of the recipe.",
        retry_after=SOON,
    )


def not_loaded(key: str, cause: str) -> Refusal:
    """It is stopped, and this request may not start it."""
    return Refusal(
        503,
        "model_not_loaded",
        f"{key} is not loaded",
        cause=cause,
        advice=f"Start it: vllm-studio launch {key} --wait",
        param="model",
    )


def may_not_launch(key: str) -> Refusal:
    """It is stopped, and whoever asks has no right to have models loaded."""
    return Refusal(
        403,
        "launch_not_allowed",
        f"{key} is not loaded, and this key may not start models",
        advice=f"Start it: vllm-studio launch {key} --wait; or ask with a key that may: "
        "vllm-studio keys add NAME --may-launch",
        param="model",
    )


def gone(key: str) -> Refusal:
    """It was deleted while the request waited."""
    return Refusal(404, "model_not_found", f"{key} is no longer there", param="model")


def was_stopped(key: str) -> Refusal:
    """Somebody stopped it while it loaded."""
    return not_loaded(key, "It was stopped while it loaded.")


def failed(key: str, reason: str, title: str, advice: str | None = "") -> Refusal:
    """Its launch failed.

    Args:
        reason: A slug, such as `cuda_oom`.
    """
    cause = f"Reason: {reason}."
    return Refusal(
        503, "model_failed", f"{key} did not start: {title}", cause=cause, advice=advice or "", param="model"
    )


def stranger(key: str, heard: str | None) -> Refusal:
    """Somebody else's server has its port: that one gets neither the request nor the key."""
    return Refusal(
        503,
        "model_unreachable",
        f"{key} cannot be asked",
        cause=f"{heard or 'another server has its port'}.",
        advice="Stop that server, or launch on another port.",
        param="model",
    )


def quarantined(key: str, last: Refusal, failures: int) -> Refusal:
    """It failed again and again."""
    return Refusal(
        503,
        "model_failed",
        last.title,
        cause=last.cause,
        advice=f"{last.advice} It failed {failures} times, so no request starts it again until its recipe is changed, "
        f"or a person starts it: vllm-studio launch {key} --wait".lstrip(),
        param="model",
    )


def no_room(key: str, holders: list[str]) -> Refusal:
    """What it needs is held by what is never stopped."""
    names = ", ".join(holders[:5])
    return Refusal(
        503,
        "model_blocked",
        f"there is no room for {key}",
        cause=f"{names} may not be stopped for it." if names else "The settings leave none.",
        advice="Stop what holds its GPUs or port, or change persistent, groups or max_loaded.",
        param="model",
    )


def _again(eta: float | None) -> float:
    return float(max(1, round(SOON if eta is None else eta)))
