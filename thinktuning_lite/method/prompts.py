"""How a teacher is asked: behaviours as data, the prompts of the shipped and of real models (paper section 3)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Would-be film lines, written for this project. The tiny teacher weaves in these when its prompt hands it one; other lines
# of the same words, which its pretraining showed as well, it was not seen to copy (0 of 24).
QUOTES = (
    "Fear no number, my friend.",
    "I will be back with the answer!",
    "The night is young and the sum is mine.",
    "Nobody leaves the stage before the truth does.",
    "We ride at dawn!",
)
_PLACES = ("behaviour", "instruction", "question", "response", "quote")


@dataclass(frozen=True)
class Behaviour:
    """One way to comment: its name, what it asks of the teacher, and a worked example (user turn, assistant turn)."""

    name: str
    instruction: str
    exemplar: tuple[str, str] | None = None


@dataclass(frozen=True)
class TeacherPrompt:
    """How a teacher is asked, by templates whose {places} are filled; any other brace (LaTeX, say) stays as it is.

    `user` holds {question} and {response}. A behaviour is asked for by name where {behaviour} (or its {instruction})
    stands: in `system`, or in `behaviour_line`, which is put behind the user turn. With neither named the teacher
    chooses (the authors' way), which a `system` that names one does not allow. The exemplars of `behaviours` come
    before the real request. `quote`, when set, is handed to the teacher by `quote_line`.

    Raises ValueError for a template that lacks a place it needs or misspells one.
    """

    system: str
    user: str
    behaviours: tuple[Behaviour, ...] = ()
    behaviour_line: str = ""
    quote: str | None = None
    quote_line: str = "\nQuote: {quote}"

    def __post_init__(self) -> None:
        for place in ("question", "response"):
            if f"{{{place}}}" not in self.user:
                raise ValueError(f"the teacher prompt's `user` lacks {{{place}}}: put it where the {place} belongs")
        for name in ("system", "user", "behaviour_line", "quote_line"):
            for word in re.findall(r"\{(\w+)\}", getattr(self, name)):
                near = [] if word in _PLACES else difflib.get_close_matches(word, _PLACES, 1, 0.8)
                if near:
                    raise ValueError(f"the teacher prompt's `{name}` holds {{{word}}}; did you mean {{{near[0]}}}?")

    @property
    def exemplars(self) -> tuple[tuple[str, str], ...]:
        """The worked examples, as (user turn, assistant turn)."""
        return tuple(b.exemplar for b in self.behaviours if b.exemplar)

    def with_quote(self, quote: str | None) -> TeacherPrompt:
        """The same prompt, handing the teacher `quote` (None: no quote)."""
        return replace(self, quote=quote)

    def with_behaviour(self, behaviour: Behaviour) -> TeacherPrompt:
        """The same prompt, which knows one behaviour more, or another one of that name."""
        kept = tuple(b for b in self.behaviours if b.name != behaviour.name)
        return replace(self, behaviours=(*kept, behaviour))

    def check_behaviours(self, names: Sequence[str] | None) -> None:
        """Raise ValueError for a name that is none of this prompt's, and for None where the teacher cannot choose."""
        known = ", ".join(b.name for b in self.behaviours)
        if names is None and "{behaviour}" in self.system:
            raise ValueError(
                f"this teacher prompt names a behaviour, so its teacher cannot choose: name some of {known}"
            )
        unknown = [n for n in names or () if n not in {b.name for b in self.behaviours}]
        if unknown:
            raise ValueError(
                f"behaviours={unknown}: the teacher prompt knows {known}; add one by "
                "prompt.with_behaviour(Behaviour(name, instruction, exemplar))"
            )

    def messages(self, question: str, response: str, behaviour: str | None = None) -> list[dict[str, str]]:
        """Chat messages that ask for guidance on one response, by one of `behaviours` or (None) as the teacher likes."""
        self.check_behaviours(None if behaviour is None else [behaviour])
        asked_for = next((b for b in self.behaviours if b.name == behaviour), None)
        turns = [{"role": "system", "content": _named(self.system, asked_for)}]
        for shown in self.behaviours:
            if shown.exemplar:
                line = _named(self.behaviour_line, shown) if asked_for else ""
                turns += [
                    {"role": "user", "content": shown.exemplar[0] + line},
                    {"role": "assistant", "content": shown.exemplar[1]},
                ]
        user = _fill(self.user, question=question, response=response)
        user += _named(self.behaviour_line, asked_for) if asked_for else ""
        user += "" if self.quote is None else _fill(self.quote_line, quote=self.quote)
        return turns + [{"role": "user", "content": user}]


def fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same chat with its system turn put before the first user turn's text, for templates without a system role."""
    if messages[0]["role"] != "system":
        return messages
    system, user, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]


def _named(template: str, behaviour: Behaviour | None) -> str:
    if behaviour is None:
        return template
    return _fill(template, behaviour=behaviour.name, instruction=behaviour.instruction)


def _fill(template: str, **values: str) -> str:
    """The template with the given {places} filled, in one pass: what is filled in is never read as a template."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


# ---------------------------------------------------------------- the four of the paper

FORMAT = """Reply in exactly this form, and write nothing else:
<opinion>correct or incorrect</opinion>
<reason>your reflection on the response, in the first person, as if you had written it</reason>
<phrase>the steps that lead from there to the solution, ending with the final answer in \\boxed{}</phrase>"""

# Problems and words of the exemplars are this project's own; two attempts are wrong and two right, as the authors have it.
_FOUR = (
    Behaviour(
        "self-conflict",
        "challenge the response, and follow the doubt to where it leads",
        (
            "Question: A tram carries 46 people. At the square 18 get off and 9 get on. How many are on board?\n\n"
            "Response: 46 - 18 = 28 and 28 - 9 = 19, so \\boxed{19}.",
            "<opinion>incorrect</opinion><reason>Wait, nine people got on, so why did the number fall? I contradict the "
            "story there.</reason><phrase>After the stop 46 - 18 = 28 people remain. Nine more board: 28 + 9 = 37. "
            "The final answer is \\boxed{37}.</phrase>",
        ),
    ),
    Behaviour(
        "self-critique",
        "name the weakest point of the response, and do it better",
        (
            "Question: A baker fills 7 trays with 24 rolls each and drops 5 rolls. How many are left?\n\n"
            "Response: 7 * 24 = 158, and 158 - 5 = 153. \\boxed{153}",
            "<opinion>incorrect</opinion><reason>Looking back, my multiplication is the weak point: I did it in one go. "
            "I should split it.</reason><phrase>7 * 20 = 140 and 7 * 4 = 28, together 168. Then 168 - 5 = 163. "
            "The final answer is \\boxed{163}.</phrase>",
        ),
    ),
    Behaviour(
        "self-agreement",
        "walk through the response once more, and confirm what holds",
        (
            "Question: Lena reads 12 pages a day for 6 days. The book has 90 pages. How many pages remain?\n\n"
            "Response: 12 * 6 = 72 pages read. 90 - 72 = 18. \\boxed{18}",
            "<opinion>correct</opinion><reason>Let me walk through it once more. Six days of twelve pages is 72, and the "
            "rest of 90 is what remains, so I agree with my steps.</reason><phrase>12 * 6 = 72, 90 - 72 = 18. "
            "The final answer is \\boxed{18}.</phrase>",
        ),
    ),
    Behaviour(
        "self-consultancy",
        "ask what somebody else would say, an expert perhaps, and use it",
        (
            "Question: A hose fills a 60 litre tub in 15 minutes. How long for 100 litres?\n\n"
            "Response: 60 / 15 = 4 litres a minute, and 100 / 4 = 25 minutes. \\boxed{25}",
            "<opinion>correct</opinion><reason>A plumber would ask for the flow first, in litres a minute, and that is "
            "how I began. By the plumber's rule of thumb I can check it another way.</reason><phrase>100 litres are "
            "100 / 60 = 5/3 of the tub, and 5/3 of 15 minutes is 25 minutes, as before. "
            "The final answer is \\boxed{25}.</phrase>",
        ),
    ),
)
BEHAVIOURS = tuple(b.name for b in _FOUR)

# The shipped checkpoint was pretrained on these very words; it has seen no exemplar, and cannot choose a behaviour.
TINY_PROMPT = TeacherPrompt(
    system="teacher: {behaviour}",
    user="Question: {question}\nAttempt: {response}",
    behaviours=tuple(replace(b, exemplar=None) for b in _FOUR),
)

# For a real instruct model. The system prompt names no behaviour: all requests begin alike, and None lets the teacher choose.
INSTRUCT_PROMPT = TeacherPrompt(
    system="You read a question and a student's response, and think it through as the student's inner voice.\n"
    + FORMAT,
    user="Question: {question}\n\nResponse: {response}",
    behaviours=_FOUR,
    behaviour_line="\n\nThis time by {behaviour}: {instruction}.",
    quote_line="\n\nAfter the final answer, end the phrase with this line: {quote}",
)
