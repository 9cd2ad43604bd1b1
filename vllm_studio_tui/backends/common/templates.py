"""Check the syntax of chat templates with the library that engines use. No template is rendered."""

from __future__ import annotations

from functools import lru_cache

#: A longer one is not looked at: real ones take some ten thousand bytes.
MAX_TEMPLATE = 256 << 10


@lru_cache(maxsize=8)
def template_trouble(text: str) -> str:
    """Return where and why a template has wrong syntax; an empty text where it can be read.

    Its tags are those that transformers knows: Jinja's, its loop controls, and `generation`.
    """
    if len(text) > MAX_TEMPLATE:
        return ""
    import jinja2  # takes some tenths of a second the first time: only where there is a template
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012, RUF100

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    # Nothing is rendered, and text for models is no HTML.
    environment = jinja2.Environment(extensions=[Generation, "jinja2.ext.loopcontrols"])  # noqa: RUF100, S701
    try:
        environment.parse(text)
    except jinja2.TemplateSyntaxError as error:
        return f"line {error.lineno}: {' '.join((error.message or 'syntax error').split())[:200]}"
    except (RecursionError, ValueError, OverflowError):
        return ""
    return ""
