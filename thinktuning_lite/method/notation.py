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
    **dict.fromkeys("−–—‒﹣－‑‐", "-"),
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
    **{"“": '"', "”": '"', "\u00a0": " ", "∛": r"\sqrt[3]", "μ": r"\mu ", "µ": r"\mu ", "Ω": r"\Omega "},
}
_ROOT = re.compile(r"√\s*(?:\{([^{}]*)\}|\(([^()]*)\)|([0-9]+(?:\.[0-9]+)?|[a-zA-Z]|\\pi))?")
_SPACING = re.compile(
    r"(?<!\\)\\[!,;:> ]|\\(?:hspace|(?:text)?color)\{[^}]*\}|~"
    r"|\\(?:left|right|q?quad|displaystyle|limits|[lL]arge|LARGE|[hH]uge|normalsize|small|rm|sf|tt|it|bf"
    r"|checkmark|blacksquare|therefore|Rightarrow|implies)(?![a-zA-Z])"
)
_THOUSANDS = re.compile(r"\{,\}|,\s*\\!\s*")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(\{|[0-9a-zA-Z]|\\[a-zA-Z]+)\s*")
_TOKEN = re.compile(r"\s*([0-9a-zA-Z]|\\[a-zA-Z]+)")
_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("__", "__"),
    ("`", "`"),
    ("{", "}"),
)
_NUMERIC_LATEX = re.compile(
    r"\\(?:mathbf|mathrm|mathsf|boldsymbol|mathit|bm|ensuremath)\s*(?:\{([^{}]*)\}|(?![a-zA-Z]))"
)
_GROUP = re.compile(r"(?:^|(?<=[\s=(+-]))\{([^{}\\]*)\}")  # braces that are no command's
_VECTOR = re.compile(r"\\([lr])angle(?![a-zA-Z])")
_OVERLINED = re.compile("((?:[0-9]\u0305)+)")
_ROOT_OF_ONE = re.compile(r"(\\sqrt\[\w\])\s*(\w)")
_EXPONENT = re.compile(r"\^\s*(\\frac\{[^{}]*\}\{[^{}]*\})")
_OVER = re.compile(r"\{?\s*([^{}\\]+?)\s*\\over(?![a-zA-Z])\s*([^{}\\]+?)\s*\}?")

TEXT_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt|up|sc|superscript)?|mbox|hbox|mathrm|mathbf|mathsf|operatorname|emph)\s*"
    r"\{(?P<text>[^{}]*)\}"
)


def _spelled(character: str) -> str:
    """One non-ASCII character in ASCII or LaTeX, by what Unicode says that it is made of."""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    kind, _, codes = unicodedata.decomposition(character).partition(" ")
    if not kind.startswith("<"):
        return character
    spelled = "".join(chr(int(code, 16)) for code in codes.split()).replace("\u2044", "/").replace("\u2212", "-")
    if kind == "<super>":
        return f"^{{{spelled}}}"
    if kind == "<sub>":
        return f"_{{{spelled}}}"
    if kind == "<fraction>":
        over, _, under = spelled.partition("/")
        return rf"\frac{{{over}}}{{{under}}}"
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
    if "\u0305" in text:
        text = _OVERLINED.sub(lambda m: rf"\overline{{{m[1][::2]}}}", text)
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
    r"""LaTeX as a parser wants it: Unicode spelled out, no `\left`, no spacing, bold or colour, `\frac` with braces.

    Words in `\text{}` and degrees stay: what they mean, the reader of numbers and the comparison of words decide.
    """
    text = ascii_math(text)
    if "\\" in text or "$" in text or "{" in text or "~" in text:
        text = _SPACING.sub("", _THOUSANDS.sub(",", text)).replace("{:}", ":")
        text = _NUMERIC_LATEX.sub(lambda m: m[1] if m[1] is not None else "", text)
        text = _GROUP.sub(r"\1", _braced(text))
    return unwrapped(text)


def parser_latex(text: str) -> str:
    r"""What a parser of LaTeX needs and no more: Unicode spelled out, braces for `\frac`'s arguments."""
    text = ascii_math(text)
    if "\\" not in text:
        return text
    return _braced(_VECTOR.sub(lambda bracket: "(" if bracket[1] == "l" else ")", text))


def _braced(text: str) -> str:
    r"""Arguments in braces: `\frac12`, `\sqrt[3]2`, `3^\frac12`, `1 \over 2`."""
    if "frac" in text:
        text = _EXPONENT.sub(r"^{\1}", _brace_fractions(text))
    if "\\sqrt[" in text:
        text = _ROOT_OF_ONE.sub(r"\1{\2}", text)
    over = _OVER.fullmatch(text) if "\\over" in text else None
    return rf"\frac{{{over[1]}}}{{{over[2]}}}" if over else text


def without_text_commands(text: str) -> str:
    r"""`\text{(c) } 12` as `(c) 12`: words out of their LaTeX commands."""
    return TEXT_COMMAND.sub(r" \g<text> ", text).strip()
