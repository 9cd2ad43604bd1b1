"""Read the recipes of a database of the original system."""

from __future__ import annotations

from vllm_studio_tui.services.recipes.formats.format import Found, Source, Unreadable, refuse_unbounded

#: How a database of SQLite begins.
DATABASE = b"SQLite format 3\x00"


class OriginalDatabase:
    """`recipes.db` or `controller.db` of the original. An entry that cannot be read is a `BrokenRow`."""

    name = "original-database"
    title = "a database of the original vllm-studio"

    def read(self, source: Source) -> list[Found] | None:
        if not source.raw.startswith(DATABASE):
            return None
        from vllm_studio_tui.store.original import BrokenRow, read_original

        found = read_original(source.raw, source.name)
        if not found.recipes:
            what = {"chats": found.has_chats, "best speeds": found.peaks is not None}
            what["totals"] = found.totals is not None
            has = " and ".join(name for name, there in what.items() if there) or "an empty table of recipes"
            raise Unreadable(
                f"{source.name} holds no recipe", cause=f"It has {has}.", advice=f"vllm-studio import {source.name}"
            )
        for one in found.recipes:
            if not isinstance(one, BrokenRow):
                refuse_unbounded(one, source.name)
        return [Found(one) for one in found.recipes]
