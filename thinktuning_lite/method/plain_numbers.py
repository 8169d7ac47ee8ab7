r"""The plain number that a text is, exactly: fractions, percent, units, clock times, number bases, powers of ten.

Units are read only so that one may follow a number, and so that two that contradict each other are told apart; none
is converted. pint and quantulum3 convert and find units in prose, but take half a second to some seconds to load, and
read `5 in`, `10weeks` or `5 apples left` no better; word2number reads number words, which no final answer here was.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from thinktuning_lite.method.notation import TEXT_COMMAND, plain_latex, unwrapped, without_text_commands

MAX_NUMBER_CHARS = 150
MAX_EXPONENT = 400  # of a power of ten that is worked out


class Number(NamedTuple):
    value: int | Fraction
    is_percent: bool = False
    unit: str = ""  # canonical, "" when none is known: "dollar", "kilometer per hour"
    base: str = ""  # "8" for 52_8, whose `value` is 52
    has_word: bool = False  # a bare word of no known unit follows: thing counted, or variables in a gold ("2 xyz")


INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_SIMPLE_INTEGER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)")
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
# Canonical unit, then its other spellings (plurals in "s" are understood).
_UNITS = {
    "millisecond": "ms",
    "second": "s sec",
    "minute": "min",
    "hour": "h hr",
    "day": "d",
    "week": "wk",
    "month": "mo",
    "year": "yr",
    "dollar": "usd buck",
    "cent": "¢",
    "euro": "€ eur",
    "pound": "lb £ gbp",
    "rupee": "rs inr ₹",
    "yen": "jpy yuan cny ¥",
    "nanometer": "nm nanometre",
    "micrometer": "um micrometre micron",
    "millimeter": "mm millimetre",
    "centimeter": "cm centimetre",
    "meter": "m metre",
    "kilometer": "km kilometre",
    "inch": "in inches",
    "foot": "ft feet",
    "yard": "yd",
    "mile": "mi",
    "gram": "g",
    "kilogram": "kg",
    "milligram": "mg",
    "ounce": "oz",
    "ton": "t tonne",
    "liter": "l litre",
    "milliliter": "ml millilitre",
    "cup": "",
    "tablespoon": "tbsp",
    "teaspoon": "tsp",
    "gallon": "gal",
    "quart": "qt",
    "pint": "pt",
    "celsius": "c",
    "fahrenheit": "f",
    "kelvin": "k",
    "degree": "deg",
    "radian": "rad",
    "newton": "n",
    "joule": "j",
    "kilojoule": "kj",
    "calorie": "cal",
    "kilocalorie": "kcal",
    "electronvolt": "ev",
    "watt": "w",
    "kilowatt": "kw",
    "kilowatt hour": "kwh",
    "volt": "v",
    "ohm": "",
    "ampere": "a amp",
    "hertz": "hz",
    "kilohertz": "khz",
    "megahertz": "mhz",
    "pascal": "pa",
    "kilopascal": "kpa",
    "atmosphere": "atm",
    "mole": "mol",
    "hectare": "ha",
    "kilobyte": "kb",
    "megabyte": "mb",
    "gigabyte": "gb",
    "terabyte": "tb",
    "mile per hour": "mph",
    "kilometer per hour": "kmh kph",
    "meter per second": "mps",
    "am": "",
    "pm": "",
}
_UNIT = {spelling: unit for unit, others in _UNITS.items() for spelling in (unit, *others.split())}
_UNIT |= {spelling + "s": unit for spelling, unit in _UNIT.items() if len(spelling) > 2 and spelling + "s" not in _UNIT}
# Lower-case letters that are rather variables than units when nothing but a number stands before them.
_VARIABLES = frozenset("acdfknjtvw")
# Words after a number that are no unit: they change its value, or join it to something else.
_NO_UNIT = frozenset(
    (
        "half halves halved third thirds quarter quarters fifths sixths sevenths eighths ninths tenths twelfths twentieths "
        "hundredths thousandths millionths squared cubed doubled tripled double twice triple factorial pi "
        "or and not to mod modulo plus minus over choose sqrt sin cos tan log ln base is but least most than by "
        "either between negative root power if from versus vs else maybe divided multiplied raised "
        "hundreds thousands millions billions trillions dozens score gross wrong incorrect"
    ).split()
)
_CURRENCY = r"(?:(?:US|CAN?|AU?|HK|NZ|S)?\\?\$|[£€₹¥]|(?:USD|EUR|GBP|INR|CNY|JPY|Rs\.?)(?![a-zA-Z])\s*\\?\$?)"
_NUMBER = re.compile(
    rf"""
    (?P<sign>[+-]?)\s*(?:(?P<currency>{_CURRENCY})\s*)?(?P<inner>-?)\s*
    (?:
      (?:(?P<whole>[0-9]+)(?:[ ]+(?=[0-9])|[ ]*(?=\\frac)))?   # mixed number
      (?: (?P<n1>{INTEGER})\s*/\s*(?P<d1>{INTEGER})
        | \\frac\s*\{{\s*(?P<n2>-?\s*{INTEGER})\s*\}}\s*\{{\s*(?P<d2>-?\s*{INTEGER})\s*\}}
      )
      | (?P<repeating>[0-9]*\.[0-9]*)\\(?:overline|bar|dot)\s*\{{?(?P<period>[0-9]+)\}}?
      | (?P<decimal>(?:{INTEGER}(?:\.[0-9]*)?|\.[0-9]+))
        (?: [eE](?P<e1>[+-]?[0-9]+) | \s*(?:\\times|\\cdot|[*xX])\s*10\s*(?:\^|\*\*)\s*\{{?\s*(?P<e2>[+-]?[0-9]+)\s*\}}? )?
      | 10\s*\^\s*\{{?\s*(?P<e3>-[0-9]+)\s*\}}?
    )
    (?:\s*(?P<scale>{"|".join(_SCALES)})\b)?
    \s*(?P<money>\\?\$|[£€¢₹¥])?\s*
    (?P<percent>\\?%|percent(?:age)?(?:\s+points?)?\b|per\s+cent\b|pct\b)?
    (?P<tail>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACED = re.compile(r"-?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]+)?")
_BASED = re.compile(
    r"\(?(?P<digits>-?[0-9A-Fa-f]+)\)?(?:_\{?[\s(]*(?:base\s*)?|[\s(]+(?:in\s+)?base[\s-]*)(?P<base>[0-9]+|[a-z]+)[\s)]*\}?"
)
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_BASES |= {"ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16"}
_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))?\s*(?P<half>[ap]\.?\s?m\b\.?)?", re.IGNORECASE)
# "Answer: 42", "The answer is 42", "Total cost: 42", but not "not: 42"
_LABEL = re.compile(
    r"(?:(?:the\s+)?(?:final\s+)?(?:answer|ans|result)\s*(?:is\b|[:=])\s*:?"
    r"|(?!not\b|no\b|under\b|over\b|above\b|below\b|half\b|twice\b)[a-z]{3,}(?: [a-z]+){0,4}:)\s*(?=\S)",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(?:\\approx(?![a-zA-Z])|~|\\sim(?![a-zA-Z])|\b(?:the|exactly|only|just|a total of|(?:thus|so|hence|therefore|yes),?"
    r"|day|week|page|(?:is\s+)?(?:about|approximately|approx|around|roughly|nearly))(?![a-zA-Z])\.?)\s*",
    re.IGNORECASE,
)
_APPROXIMATION = re.compile(
    r"\s*(?:\\text\{\s*)?(?:\(\s*(?:or\s+)?(?:\\approx|about|approx|roughly)|\\approx(?![a-zA-Z]))", re.I
)
# "She has 12", "Total cost is 12"
_SENTENCE = re.compile(
    r"(?:[a-z']+\s+){1,5}(?:has|have|is|are|was|were|makes?|costs?|needs?|gets?|earns?|pays?|spends?|saves?)\s+(?=[$£€\\]*[0-9])",
    re.IGNORECASE,
)
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\deg(?:ree)?\b")
_ORDINAL = re.compile(r"\s*\^?\s*\{?\s*(?:st|nd|rd|th)(?![a-zA-Z])\s*\}?")
_BETWEEN_UNITS = re.compile(r"(?<=[a-zA-Z}2])\s*\\(?:cdot|times)(?![a-zA-Z])\s*(?=[a-zA-Z])")
_SYMBOL_UNITS = ((re.compile(r"\\Omega(?![a-zA-Z])"), " ohm"), (re.compile(r"\\mu(?![a-zA-Z])\s*"), " u"))
_BRACKETED = re.compile(r"\(\s*(-?[^(),]*)\)(?=\s*$|\s*[/)]|\s*\^\s*\\circ|\s*[a-zA-Z%\\])")
_EXPONENT = re.compile(r"\s*\^\s*(?:\{\s*-?[123]\s*\}|-?[123])")
_PER = re.compile(r"\\frac\s*\{([^{}0-9]*)\}\s*\{([^{}0-9]*)\}")
_TAIL = re.compile(r"[\s\-/(]*[a-zA-Z°¢][a-zA-Z'.]*(?:[\s\-/().,*]+[a-zA-Z][a-zA-Z'.]*)*[\s).]*")
# What an equation may give the value of: x, x_1, f(2), P(A), \theta, \text{Total cost}, AB, |AB|, nothing ("= 5").
_NAME = re.compile(
    r"(?:\|?\\?[a-zA-Z]+(?:_\{?\w+\}?)?'*\|?(?:\([^()=]{1,12}\))?|\\text\{[^{}]*\}|[a-zA-Z][a-zA-Z ]*|\\angle ?\w+|m\\angle ?\w+)?"
)
_TIMES = re.compile(r"\\(?:times|cdot|div)(?![a-zA-Z])")
_SUM = re.compile(r"[0-9\s.,+\-*/×·÷()]*")


@lru_cache(maxsize=1 << 16)
def parse_number(text: str) -> Number | None:
    r"""The plain number that the whole text states, or `None`.

    `20*4 = 80` and `x = 80` state their right side, `80 = x` its left one; "about", "Answer:", ordinals (`6^{th}`),
    degrees, units and things counted after a number are dropped; `\frac12 \approx 0.5` states what stands first.
    """
    text = text.strip()
    if not text or len(text) > MAX_NUMBER_CHARS:
        return None
    if _SIMPLE_INTEGER.fullmatch(text):
        return Number(int(text.replace(",", "")))
    text = _without_first_text_command(text)
    text = plain_latex(text)
    text = _LABEL.sub("", text, count=1) if _LABEL.match(text) else text
    words = without_text_commands(text) if text[:1].isalpha() else ""
    sentence = _SENTENCE.match(words)
    if sentence is not None and _NO_UNIT.isdisjoint({*sentence[0].lower().split()} - {"is"}):
        text = words[sentence.end() :]
    if _SPACED.fullmatch(text):
        text = text.replace(" ", "")
    if "=" in text and not re.search(r"[<>]|\\n?eq?\b|\\[lg]e", text):
        return _right_side([unwrapped(side) for side in text.split("=")])
    name, approximately, value = text.partition(r"\approx")
    if approximately and _NAME.fullmatch(name.strip()):  # x is about 42
        text = value
    return _single_number(text)


def _without_first_text_command(text: str) -> str:
    r"""`\text{5} dollars`, `\text{Answer: } 5`, `\text{\textbf{5}}` without the command."""
    if text.startswith("\\text{\\"):
        text = TEXT_COMMAND.sub(r"\g<text>", text)
    first = TEXT_COMMAND.match(text)
    if first is None or (first.end() < len(text) and "=" in text):  # \text{Total cost} = 5
        return text
    return first["text"] + text[first.end() :]


def _right_side(sides: list[str]) -> Number | None:
    """The number that an equation states: its only number, all other sides being names or arithmetic."""
    numbers = [_single_number(side) for side in sides]
    stated = {number.value for number in numbers if number is not None}
    if len(stated) != 1:
        return None
    last = max(i for i, number in enumerate(numbers) if number is not None)
    for i, side in enumerate(sides):
        if numbers[i] is None and not (_NAME.fullmatch(side) or is_sum(_TIMES.sub("*", side))):
            return None
    return numbers[last]


def _single_number(text: str) -> Number | None:
    if (about := _ABOUT.match(text)) is not None:
        text = text[about.end() :]
    if (approximation := _APPROXIMATION.search(text)) is not None and approximation.start() > 0:
        text = unwrapped(text[: approximation.start()])
    if (special := _based(text) or _clock(text)) is not None:
        return special
    while "(" in text and (shorter := _BRACKETED.sub(r"\1", text)) != text:
        text = shorter
    match = _NUMBER.fullmatch(_one_sign(text))
    value = None if match is None else _magnitude(match)
    if match is None or value is None:
        return None
    tail = _read_tail(match["tail"])
    if tail is None:
        return None
    unit, words, is_bare = tail
    value *= _SCALES.get(match["scale"] or words[:1] and words[0] or "", 1)
    money = match["money"] or match["currency"]
    if money and (not unit or unit.startswith("per ")):
        unit = f"{_UNIT.get(money.strip(' .$').lower().strip(chr(92)), 'dollar')} {unit}".strip()
    negative = (match["sign"] == "-") != (match["inner"] == "-")
    return Number(-value if negative else value, match["percent"] is not None, unit, "", is_bare and not unit)


def _one_sign(text: str) -> str:
    return re.sub(r"^-\s*-\s*", "", text)


def _based(text: str) -> Number | None:
    match = _BASED.fullmatch(without_text_commands(text)) if "_" in text or "base" in text else None
    if match is None or not ("_" in text or re.search(r"[0-9]", match["digits"])):
        return None
    base = _BASES.get(match["base"], match["base"])
    if not base.isdigit() or not 2 <= int(base) <= 36:
        return None
    digits = match["digits"]  # compared as they stand; those with letters equal no number without
    return Number(int(digits) if digits.lstrip("-").isdecimal() else Fraction(2 * int(digits, 36) + 1, 2), base=base)


def _clock(text: str) -> Number | None:
    match = _CLOCK.fullmatch(without_text_commands(text))
    if match is None or not (match["minute"] or match["half"]):
        return None
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), (match["half"] or "").lower()
    if hour > 24 or minute > 59:
        return None
    return Number(60 * hour + minute, unit="clock " + half[:1])


def _magnitude(match: re.Match[str]) -> int | Fraction | None:
    if match["repeating"] is not None:
        return _repeating(match["repeating"], match["period"])
    if match["e3"] is not None:
        return _power_of_ten(match["e3"])
    if match["decimal"] is not None:
        digits = match["decimal"].replace(",", "").rstrip(".")
        value = Fraction(digits) if "." in digits else int(digits)
        exponent = match["e1"] or match["e2"]
        scale = _power_of_ten(exponent) if exponent else 1
        return None if scale is None else value * scale
    numerator, denominator = (
        int((a or b).replace(",", "").replace(" ", ""))
        for a, b in ((match["n1"], match["n2"]), (match["d1"], match["d2"]))
    )
    if denominator == 0:
        return None
    fraction = Fraction(numerator, denominator)
    if match["whole"] is None:
        return fraction
    return int(match["whole"]) + fraction if 0 < fraction < 1 else None


def _power_of_ten(exponent: str) -> Fraction | None:
    return Fraction(10) ** int(exponent) if len(exponent) < 6 and abs(int(exponent)) <= MAX_EXPONENT else None


def _repeating(digits: str, period: str) -> Fraction:
    """0.1\\overline{6}: the digits up to the bar, and what repeats."""
    whole, _, fixed = digits.partition(".")
    shift = 10 ** len(fixed)
    return Fraction(int((whole + fixed) or "0"), shift) + Fraction(int(period), shift * (10 ** len(period) - 1))


def _read_tail(tail: str) -> tuple[str, list[str], bool] | None:
    """Canonical unit ("" if unknown), words, and whether they stand bare, of what follows a number; `None`: no unit."""
    if not tail.strip():
        return "", [], False
    is_text = TEXT_COMMAND.search(tail) is not None
    tail = without_text_commands(tail)
    tail = _ORDINAL.sub(" ", tail, count=1) if _ORDINAL.match(tail) else tail
    degrees = _DEGREES.search(tail)
    tail = _DEGREES.sub(" ", tail)
    if tail.lstrip().startswith("^"):
        return None  # a power
    tail = _EXPONENT.sub(" ", tail)
    if "\\" in tail:
        tail = _BETWEEN_UNITS.sub(" ", _PER.sub(r"\1 per \2", tail))
        for symbol, name in _SYMBOL_UNITS:
            tail = symbol.sub(name, tail)
    tail = tail.replace("{", " ").replace("}", " ").strip()
    if not tail.strip(" .,"):
        return "degree" if degrees else "", [], False
    if re.search(r"[0-9\\^_=+{}<>]", tail) or not _TAIL.fullmatch(tail):
        return None
    words = re.findall(r"[a-zA-Z]+|[¢/]", re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", tail))
    lower = [word.lower() for word in words]
    if not _NO_UNIT.isdisjoint(lower) or _multiplies(lower):
        return None
    known = [_UNIT.get(word) for word in lower if word not in ("/", "per", "square", "cubic", "sq", "cu")]
    unit = " ".join("per" if word in ("/", "per") else _UNIT.get(word, "") for word in lower).strip()
    if not is_text and not degrees and not _may_stand_bare(words, known):
        return None
    return (unit if all(known) else ""), lower, not is_text


def _multiplies(words: list[str]) -> bool:
    """Whether "times" is a product ("times two") rather than how often ("5 times", "5 times a week")."""
    return any(
        word == "times" and words[i + 1 : i + 2] not in ([], ["a"], ["an"], ["per"], ["as"], ["each"], ["every"])
        for i, word in enumerate(words)
    )


def _may_stand_bare(words: list[str], known: list[str | None]) -> bool:
    """Whether words behind a number, in no \\text{}, are a unit or things rather than variables (5x, 2 xy)."""
    first = next((word for word in words if word.lower() not in ("/", "per", "sq", "cu")), "/")
    if len(words) == 1 and len(first) == 1:
        return first.lower() in _UNIT and first not in _VARIABLES
    return all(known) or len(first) >= 3 or (first.lower() in _UNIT and len(words[-1]) >= 3)


def same_number(a: Number, gold: Number) -> bool:
    """Exact equality. A percent sign on one side only allows both readings: 50% is 50 and 1/2.

    Units that contradict each other make numbers different, and so do bases and a clock time against a number. A unit
    that one side leaves out is taken to be the other's, a base or half of the day that the answer leaves out the gold's.
    """
    if a.base != gold.base and a.base:
        return False
    if a.unit != gold.unit and not _agree(a.unit, gold.unit):
        return False
    if a.value == gold.value:
        return True
    if a.is_percent == gold.is_percent:
        return False
    percent, plain = (a.value, gold.value) if a.is_percent else (gold.value, a.value)
    return percent == 100 * plain


def _agree(unit: str, other: str) -> bool:
    if unit.startswith("clock") or other.startswith("clock"):
        return {unit, other} in ({"clock ", "clock a"}, {"clock ", "clock p"})
    if "degree" in (unit, other):
        return {unit, other} <= {"degree", "celsius", "fahrenheit", "kelvin", ""}
    # a rate may leave out what is counted, or by what: 5 dollars, 5 per day
    (thing, _, rate), (other_thing, _, other_rate) = (f" {u}".partition(" per ") for u in (unit, other))
    return all(a == b or not a or not b for a, b in ((thing.strip(), other_thing.strip()), (rate, other_rate)))


def is_sum(text: str) -> bool:
    """Whether a text is made of digits and operation signs only."""
    return _SUM.fullmatch(text) is not None
