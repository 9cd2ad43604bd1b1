"""What a face may ask of a studio's models; see `services.protocols`, of which this is a part."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.domain.download import Cancelled, Download, DownloadPlan


class DownloadsApi(Protocol):
    """Downloads from a hub, each in a process that outlives the face; see `services.downloads.Downloads`.

    All of them block; `plan` and `start` ask the hub.
    """

    def list(self) -> builtins.list[Download]: ...
    def get(self, download_id: str) -> Download: ...
    def plan(
        self, repo: str, *, revision: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> DownloadPlan: ...
    def start(
        self, repo: str, *, revision: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Download: ...
    def pause(self, download_id: str) -> Download: ...
    def resume(self, download_id: str) -> Download: ...
    def cancel(self, download_id: str) -> Cancelled: ...
    def forget(self, download_id: str) -> None: ...
