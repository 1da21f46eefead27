"""Twelve natural languages from the locale data of Babel, which every notebook server brings.

A paragraph has five lines in one language: lists of countries, languages and currencies, dates,
spans of time, measures and sums of money, as its speakers write them. What a line says (the day,
the set of names, the number with its unit) belongs to one side for good, in every language: a day
that validation asks about is never written in training.
"""

import datetime
import random
from collections.abc import Iterable
from functools import cache

from babel import Locale, dates, numbers, units

from moe_teach.data.pieces import Documents, Side, normalise, side_of

LANGUAGES = ("cs", "de", "el", "es", "fi", "fr", "hu", "it", "nl", "pl", "ru", "tr")
KINDS = ("territories", "languages", "currencies")
DOCUMENTS = {"train": 135, "validation": 15}  # in each language
PARAGRAPHS, LINES = 6, 5  # of a document, of a paragraph
_UNITS = (
    *("length-kilometer", "length-meter", "length-centimeter", "mass-kilogram", "mass-gram"),
    *("duration-hour", "duration-minute", "duration-week", "volume-liter", "temperature-celsius"),
)
_COINS = ("EUR", "USD", "GBP", "JPY", "CHF", "SEK", "PLN", "TRY", "CZK", "HUF")
_SPANS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SPAN_UNITS = tuple(_SPANS)

Names = dict[str, tuple[str, ...]]


def language_documents(names: Names, side: Side) -> Documents:
    """Return the documents of one side; `names` lists, for each of `KINDS`, the codes to draw."""
    return {
        f"{language} {number}": _document(Locale.parse(language), number, names, side)
        for language in LANGUAGES
        for number in range(DOCUMENTS[side])
    }


def stable_names(locales: Iterable[str], kind: str) -> tuple[str, ...]:
    """Return the codes of one kind that every locale has a name for."""
    tables = [getattr(Locale.parse(locale), kind) for locale in locales]
    common = set(tables[0]).intersection(*tables)
    return tuple(sorted(code for code in common if code.isalpha() and len(code) <= 3))


def listed(items: list[str], locale: Locale) -> str:
    """Join items as the locale writes a list: "A, B und C"."""
    patterns = locale.list_patterns["standard"]
    if len(items) == 2:
        return patterns["2"].format(*items)
    text = patterns["end"].format(items[-2], items[-1])
    for item in reversed(items[1:-2]):
        text = patterns["middle"].format(item, text)
    return patterns["start"].format(items[0], text)


@cache
def name_table(language: str, kind: str) -> dict[str, str]:
    """Return the names of one kind; a plain dictionary, several times faster than Babel's."""
    return dict(getattr(Locale.parse(language), kind).items())


def _document(locale: Locale, number: int, names: Names, side: Side) -> list[str]:
    rng = random.Random(f"{side} {locale} {number}")
    return [_paragraph(rng, locale, names, side) for _ in range(PARAGRAPHS)]


def _paragraph(rng: random.Random, locale: Locale, names: Names, side: Side) -> str:
    lines = []
    while len(lines) < LINES:
        draw, write = rng.choice(_WAYS)
        says = draw(rng, names)
        # A list of names says the same in any order, and in any language.
        while side_of(" ".join([str(says[0]), *sorted(map(str, says[1:]))])) != side:
            says = draw(rng, names)
        lines.append(write(locale, *says))
    return normalise("\n".join(lines))


def _draw_names(rng: random.Random, names: Names) -> tuple:
    kind = rng.choice(KINDS)
    return kind, *rng.sample(names[kind], rng.randint(2, 4))


def _write_names(locale: Locale, kind: str, *codes: str) -> str:
    table = name_table(locale.language, kind)
    # A name that this Babel lacks leaves its code; the record then rejects the paragraph.
    return listed([table.get(code, code) for code in codes], locale)


def _draw_date(rng: random.Random, names: Names) -> tuple:
    return (datetime.date(1900, 1, 1) + datetime.timedelta(days=rng.randrange(73_000)),)


def _write_date(locale: Locale, day: datetime.date) -> str:
    return dates.format_date(day, format="full", locale=locale)


def _draw_span(rng: random.Random, names: Names) -> tuple:
    return rng.choice(_SPAN_UNITS), rng.randint(1, 120)


def _write_span(locale: Locale, unit: str, count: int) -> str:
    # Even numbers lie ahead, odd ones behind. A large threshold keeps the unit: 90 minutes stay
    # minutes.
    span = datetime.timedelta(seconds=count * _SPANS[unit] * (1 if count % 2 == 0 else -1))
    return dates.format_timedelta(
        span, granularity=unit, threshold=1000, add_direction=True, locale=locale
    )


def _draw_measure(rng: random.Random, names: Names) -> tuple:
    return rng.choice(_UNITS), rng.randint(1, 999)


def _write_measure(locale: Locale, unit: str, count: int) -> str:
    return units.format_unit(count, unit, locale=locale)


def _draw_money(rng: random.Random, names: Names) -> tuple:
    return rng.choice(_COINS), rng.randint(1, 9999)


def _write_money(locale: Locale, coin: str, count: int) -> str:
    return numbers.format_currency(
        count, coin, format="#,##0", format_type="name", locale=locale, currency_digits=False
    )


_WAYS = (
    *[(_draw_names, _write_names)] * 2,  # twice as often as the others
    (_draw_date, _write_date),
    (_draw_span, _write_span),
    (_draw_measure, _write_measure),
    (_draw_money, _write_money),
)
