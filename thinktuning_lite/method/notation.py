r"""One notation for what a box may hold: Unicode as LaTeX, LaTeX without its typography.

Unicode's own data (`unicodedata`, in the standard library) says what ½, ² or a full-width 5 is. pylatexenc knows more
characters, but writes them for text (`\textonehalf`), which no parser of formulas reads; math-verify rewrites fractions
and units too, but needs a second to import, and plain numbers shall not wait for it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SYMBOLS = {
    **dict.fromkeys("−–‒﹣－‑‐", "-"),
    **dict.fromkeys("\u2009\u202f\u2007", r"\,"),  # thin spaces, which group digits
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u202a\u202c\u2061\u2062", ""),
    **dict.fromkeys("。．｡", "."),
    **{"，": ",", "、": ",", "：": ":", "；": ";"},
    **{"×": r"\times ", "✕": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "±": r"\pm ", "∓": r"\mp "},
    **{"∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx "},
    **{
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "°": r"^\circ ",
        "º": r"^\circ ",
        "∘": r"^\circ ",
    },
    **{
        "π": r"\pi ",
        "θ": r"\theta ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "φ": r"\phi ",
        "λ": r"\lambda ",
        "ω": r"\omega ",
    },
    **{"′": "'", "’": "'", "‘": "'", "∣": "|", "⟨": r"\langle ", "⟩": r"\rangle ", "∠": r"\angle ", "⁄": "/", "√": "√"},
    **{"“": '"', "”": '"', "\u00a0": " "},
}
_ROOT = re.compile(r"√\s*(?:\{([^{}]*)\}|\(([^()]*)\)|([0-9]+(?:\.[0-9]+)?|[a-zA-Z]|\\pi))?")
_SPACING = re.compile(r"(?<!\\)\\[!,;:> ]|\\(?:left|right|q?quad|displaystyle|limits|hspace\{[^}]*\})(?![a-zA-Z])|~")
_THOUSANDS = re.compile(r"\{,\}|,\s*\\!\s*")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(\{|[0-9a-zA-Z]|\\[a-zA-Z]+)\s*")
_TOKEN = re.compile(r"\s*([0-9a-zA-Z]|\\[a-zA-Z]+)")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("`", "`"))
_NUMERIC_LATEX = re.compile(r"\\(?:mathbf|mathrm|bf|boldsymbol|mathit|bm|ensuremath)\s*(?:\{([^{}]*)\}|(?![a-zA-Z]))")

TEXT_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt|up|sc)?|mbox|hbox|mathrm|mathbf|operatorname|emph)\s*\{(?P<text>[^{}]*)\}"
)


def _spelled(character: str) -> str:
    """One non-ASCII character in ASCII or LaTeX, by what Unicode says that it is made of."""
    kind, _, codes = unicodedata.decomposition(character).partition(" ")
    if not kind.startswith("<"):
        return character
    spelled = "".join(chr(int(code, 16)) for code in codes.split()).replace("\u2044", "/").replace("\u2212", "-")
    if kind == "<super>":
        return f"^{{{spelled}}}"
    if kind == "<sub>":
        return f"_{{{spelled}}}"
    if kind == "<fraction>":
        return f" {spelled} "
    return spelled if kind in ("<wide>", "<font>", "<narrow>", "<noBreak>", "<compat>") else character


_SPELLED = {ord(c): s for c, s in _SYMBOLS.items()}


class _Spelling(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = _SYMBOLS.get(chr(code)) or (chr(code) if code < 128 else _spelled(chr(code)))
        return self[code]


_SPELLING = _Spelling(_SPELLED)


def ascii_math(text: str) -> str:
    r"""Unicode mathematics as ASCII and LaTeX: `−½` is `- 1/2 `, `x²` is `x^{2}`, `√3` is `\sqrt{3}`."""
    if text.isascii():
        return text
    text = text.translate(_SPELLING).replace("}^{", "").replace("}_{", "")
    if "√" not in text:
        return text
    return _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2] or m[3]}}}" if m[1] or m[2] or m[3] else r"\sqrt ", text)


def unwrapped(text: str) -> str:
    """Without what stands around the whole: dollars, brackets of a formula, Markdown, the full stop."""
    text = text.strip()
    changed = True
    while changed:
        changed = False
        for opening, closing in _WRAPPERS:
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
                inner = text[len(opening) : -len(closing)]
                if opening not in inner and closing not in inner:
                    text, changed = inner.strip(), True
        shorter = text.rstrip(" .\\,;")
        if shorter != text:
            text, changed = shorter, True
    return text


def _brace_fractions(text: str) -> str:
    r"""`\frac12`, `\dfrac2\pi` and `\frac 3{4}` as `\frac{1}{2}`, `\frac{2}{\pi}`, `\frac{3}{4}`."""
    pieces, position = [], 0
    for match in _FRACTION.finditer(text):
        if match.start() < position:
            continue
        if match[1] == "{":  # the first argument has braces: only the name is put right
            pieces += [text[position : match.start()], r"\frac{"]
            position = match.end()
            continue
        second = _TOKEN.match(text, match.end())
        pieces += [text[position : match.start()], rf"\frac{{{match[1]}}}", f"{{{second[1]}}}" if second else ""]
        position = second.end() if second else match.end()
    return "".join(pieces) + text[position:]


@lru_cache(maxsize=1 << 14)
def plain_latex(text: str) -> str:
    r"""LaTeX as a parser wants it: Unicode spelled out, no `\left`, no spacing, no bold, `\frac` with braces.

    Words in `\text{}` and degrees stay: what they mean, the reader of numbers and the comparison of words decide.
    """
    text = ascii_math(text)
    if "\\" in text or "$" in text or "{" in text or "~" in text:
        text = _SPACING.sub("", _THOUSANDS.sub(",", text))
        text = _NUMERIC_LATEX.sub(lambda m: m[1] if m[1] is not None else "", text)
        text = _brace_fractions(text)
    return unwrapped(text)


def parser_latex(text: str) -> str:
    r"""What a parser of LaTeX needs and no more: Unicode spelled out, braces for `\frac`'s arguments."""
    text = ascii_math(text)
    return _brace_fractions(text) if "frac" in text else text


def without_text_commands(text: str) -> str:
    r"""`\text{(c) } 12` as `(c) 12`: words out of their LaTeX commands."""
    return TEXT_COMMAND.sub(r" \g<text> ", text).strip()
