"""Text is data: model text is shown, never interpreted."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """Text with everything that is not a visible character made one: model text is shown, never interpreted.

    Control characters become their Unicode control pictures (a line feed ↵), format characters (direction marks,
    joiners) and lone surrogates their code point in ‹ ›; blanks become ␣ where there is nothing else, and a leading
    combining mark gets a circle to sit on.
    """
    if text.isascii() and text.isprintable() and text.strip():
        return text
    if text and not text.strip(" "):
        return text.replace(" ", "␣")
    out = "".join(map(_visible_character, text))
    return "◌" + out if out and unicodedata.category(out[0]).startswith("M") else out


def _visible_character(c: str) -> str:
    if c == "\n":
        return "↵"
    if c < " ":
        return chr(0x2400 + ord(c))
    if c == "\x7f":
        return "␡"
    return f"‹U+{ord(c):04X}›" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
