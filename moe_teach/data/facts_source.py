"""Facts that can only be remembered: what a country is called in a language, from Babel."""

from babel import Locale

from moe_teach.data.pieces import Documents, normalise

LOCALES = (
    *("af", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fi", "fr", "ga"),
    *("hr", "hu", "id", "is", "it", "lt", "lv", "nl", "pl", "pt", "ro", "sk", "sv", "tr"),
)
TERRITORIES = 200


def fact_documents() -> Documents:
    """Return one document a locale, one piece a fact: `de:FR=Frankreich`."""
    documents = {}
    for name in LOCALES:
        table = Locale.parse(name).territories
        codes = sorted(code for code in table if len(code) == 2 and code.isalpha())
        documents[name] = [f"{name}:{code}={normalise(table[code])}" for code in codes]
    return documents
