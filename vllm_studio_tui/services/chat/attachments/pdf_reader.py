"""A program of its own: write the text of a PDF as JSON. It bounds itself before it reads anything."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import sys
import time

#: Bytes of memory, pages and letters at most.
MOST_MEMORY, MOST_PAGES, MOST_TEXT = 1024 * 1024 * 1024, 2000, 400_000


def main(path: str, seconds: float) -> None:
    """Read as many pages as there is time for."""
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 5, int(seconds) + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    sys.stdout.write(json.dumps(_read(path, until)))


def _read(path: str, until: float) -> dict[str, object]:
    try:
        from pypdf import PdfReader

        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            return {"error": "It wants a password."}
        pages = len(reader.pages)
        texts: list[str] = []
        letters = read = 0
        for page in reader.pages:
            if read >= MOST_PAGES or letters >= MOST_TEXT or time.monotonic() > until:
                break
            try:
                text = page.extract_text()
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001, RUF100 - one broken page is not the end of the others
                text = f"[page {read + 1} cannot be read: {type(error).__name__}]"
            texts.append(text)
            letters += len(text)
            read += 1
        whole = "\n\n".join(texts)
        return {"text": whole[:MOST_TEXT], "pages": pages, "read": read, "cut": read < pages or len(whole) > MOST_TEXT}
    except (MemoryError, RecursionError):
        return {"error": "It wants too much memory."}
    except Exception as error:  # noqa: BLE001, RUF100 - whatever a file does, its reader says so
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
