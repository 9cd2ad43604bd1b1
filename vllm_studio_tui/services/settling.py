"""What programs that are gone left behind is brought into the database when it is opened."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StoreError

if TYPE_CHECKING:
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.store.database import Database

_log = logging.getLogger(__name__)


def settle_all(places: Places, db: Database) -> int:
    """Bring in answers, requests of a server and calls of the gateway; return how many answers were saved after all.

    What the database does not take now waits for the next opening.
    """
    recovered = 0
    left = db.row(
        "SELECT 1 FROM requests WHERE finish = 'streaming' UNION ALL"
        " SELECT 1 FROM chat_messages WHERE finish = 'streaming' LIMIT 1"
    )
    if left is not None or any(folder.is_dir() for folder in places.unsaved):
        from vllm_studio_tui.services.chat.finished_answers import settle

        try:
            recovered = settle(db, places.unsaved)
        except StoreError as error:
            _log.warning("answers of programs that are gone wait: %s", error)
    if (places.state / "serve").is_dir():
        from vllm_studio_tui.services.serving.request_log import settle_journals

        try:
            settle_journals(places, db, patience=0.5)
        except StoreError as error:
            _log.warning("requests of a server that is gone wait: %s", error)
    if (places.data / "gateway" / "calls").is_dir():
        from vllm_studio_tui.services.gateway.calls import calls_folder, fold_calls

        try:
            fold_calls(calls_folder(places), db)
        except StoreError as error:
            _log.warning("requests of the gateway wait: %s", error)
    return recovered
