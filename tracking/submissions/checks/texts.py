"""Damage to text: lost letters, invisible characters, a spreadsheet's errors and formulas.

Each check returns what is wrong and what to do, or None; none of them repeats the text, which may name a person.
"""

import html
import re
import unicodedata

# In the languages of Europe; Err:502 is of LibreOffice, ### stands where a column is too narrow.
_ERROR = re.compile(
    "#(?:n/?[adb]|nv|i/t|н/д|yok|brak|puuttuu|hiányzik|není_k_dispozici|getting_data)!?|#{2,}|err:[0-9]{3}"
    "|#[¡¿]?(?:null?|nulo|nullo|leeg|zero|пусто|value|valeur|wert|valor|valore|waarde|värdefel|værdi|verdi|arvo|hodnota|arg"
    "|değer|érték|знач|ref|bezug|rif|verw|adr|referens|reference|viittaus|odkaz|başv|hiv|ссылка|num|núm|nombre|numero|zahl"
    "|getal|liczba|ogiltigt|luku|číslo|sayi|szám|число|name|nom|nome|naam|nazwa|namn|navn|nimi|název|ad|név|имя|spill"
    "|überlauf|desbordamiento|propagation|espansione|calc|kalk|calcul|error|field|campo|blocked|connect|busy|unknown"
    "|saknas|skärning|(?:div|deel|sayi|dziel|division|jako|dělení|дел)/0|div/0)[!?]",
    re.IGNORECASE,
)
# What a spreadsheet runs: a sign, and then what a formula can begin with. A smile begins with the sign too.
_FORMULA = re.compile(r"""=\s*[-+("'$@{#]?\s*[\w"']""")
_TEXT_BY_FORMULA = re.compile('="([^"]*)"')
_ENTITY = re.compile("&(?:[a-z]{2,8}|#[0-9]{2,5}|#x[0-9a-f]{2,5});", re.IGNORECASE)
# In the case in which programs write them: Nan is a name, and None a town.
_PLACEHOLDER = re.compile(r"nan|NaN|NaT|<NA>|null|NULL|\(null\)|undefined|\[object Object\]")
# What is usually written with more than one byte: Latin letters, quotation marks, dashes, the euro sign.
_MISREAD = re.compile("[\u00a0-\u017f\u2010-\u2044\u20ac]")
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"


class Unfit(ValueError):
    """A value that cannot be taken; its text says why and what to do."""


def without_text_mark(text: str) -> str:
    """The text that a spreadsheet shows of `="00123"`, by which people keep it from becoming a number."""
    match = _TEXT_BY_FORMULA.fullmatch(text)
    return match[1].strip() if match else text


def formula(text: str) -> str | None:
    """Whether the text is a spreadsheet's formula instead of its result."""
    if not _FORMULA.match(text):
        return None
    return "is a formula, not what it comes to: copy the column, paste it as values and save the file again"


def spreadsheet_error(text: str) -> str | None:
    """Whether the text is what a spreadsheet shows where a formula failed, or a column was too narrow."""
    if not text.startswith(("#", "E", "e")) or not _ERROR.fullmatch(text):
        return None
    return "is a spreadsheet's error in place of a value: fix the formula, or widen the column, and save the file again"


def lost_letter(text: str) -> str | None:
    """Whether a letter was lost when the text was read in another encoding than it was written in."""
    return "holds \ufffd where a letter was lost: write it again" if "\ufffd" in text else None


def nothing_visible(text: str) -> str | None:
    """Whether the text holds nothing that anybody sees."""
    return "holds nothing that can be read: fill it in" if all(map(_is_unseen, text)) else None


def placeholder(text: str) -> str | None:
    """Whether the text is what a program writes where it has none."""
    return "is a program's word for nothing: fill it in, or leave it empty" if _PLACEHOLDER.fullmatch(text) else None


def other_encoding(text: str) -> str | None:
    """Whether the text was read otherwise than it was written: "MÃ¼ller" or "M&uuml;ller" for "Müller"."""
    if any(html.unescape(mark) != mark for mark in _ENTITY.findall(text)):
        return "holds marks of a web page such as &uuml; for \u00fc: write the letters themselves"
    if text.isascii():
        return None
    try:
        meant = text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None
    # Rarer letters come about by chance, of a capital with an accent and a sign behind it.
    if not all(letter.isascii() or _MISREAD.match(letter) for letter in meant):
        return None
    return "holds letters such as \u00c3\u00bc for \u00fc, as of a file opened in the wrong encoding: open it as UTF-8"


def unseen_character(text: str) -> str | None:
    """Whether the text holds a character that nobody sees, or a space that is another one than the usual."""
    for place, letter in enumerate("" if text.isascii() else text, 1):
        if _is_unseen(letter):
            name = unicodedata.name(letter, "a mark without a name")
            return f"holds a character that nobody sees, {name} (U+{ord(letter):04X}), in place {place}: retype it"
    return None


def _is_unseen(letter: str) -> bool:
    category = unicodedata.category(letter)
    special = category in {"Cf", "Cc", "Co", "Cn", "Zl", "Zp"} or (category == "Zs" and letter != " ")
    return special or letter in _FILLERS or "\ufe00" <= letter <= "\ufe0f"
