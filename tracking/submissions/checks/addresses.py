"""Recipients: the shape of e-mail addresses, telephone numbers and postal addresses that somebody can have.

Knows no person and asks nobody: an address of the right shape may still belong to no one.
"""

import re
import unicodedata
from collections.abc import Mapping

from tracking.submissions.checks.texts import Unfit, lost_letter, placeholder, spreadsheet_error, unseen_character

_LOCAL = re.compile(
    r"[A-Za-z0-9!#$%&*+/=?^_`{|}~-][A-Za-z0-9!#$%&*+/=?^_`{|}~'-]*(?:\.[A-Za-z0-9!#$%&*+/=?^_`{|}~'-]+)*"
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_TOP_LABEL = re.compile(r"xn--[a-z0-9-]+|[a-z]{2,63}", re.IGNORECASE)
_NO_TOP_LABEL = dict.fromkeys(("con", "cmo", "ocm", "comm", "cpm", "vom", "xom", "coom"), "com") | {
    **dict.fromkeys(("nte", "ner", "nett"), "net"),
    **dict.fromkeys(("ogr", "rog", "orgg"), "org"),
}
_LOST_OR_MASKED = re.compile(r"[\w.+-]*[?*][\w.+?*-]*")  # where no other sign shows that somebody means it
_WITHIN_A_NETWORK = frozenset({"local", "localhost", "localdomain", "lan", "internal", "intranet", "corp", "invalid"})
_EMAIL = "must be an e-mail address, such as name@example.com"
_TELEPHONE = re.compile(r"\+? ?(?:[0-9]+|\([0-9]{1,5}\)[0-9]*)(?:[ ./-]{1,3}[0-9]+|[ ./-]{0,3}\([0-9]{1,5}\)[0-9]*)*")
_SHORTENED = re.compile(r"[0-9]+(?:[.,][0-9]*)?E[+-]?[0-9]+|[0-9]+[.,]0", re.IGNORECASE)
_WITHOUT_ZEROS = "a spreadsheet takes zeros in front away: format the column as text and write it again"

# The states and territories of the US Postal Service, the provinces of Canada, the countries of ISO 3166-1.
_STATES = {
    "US": re.compile(
        "A[AEKLPRSZ]|C[AOT]|D[CE]|F[LM]|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]|P[ARW]|RI|"
        "S[CD]|T[NX]|UT|V[AIT]|W[AIVY]"
    ),
    "CA": re.compile("AB|BC|MB|N[BLSTU]|ON|PE|QC|SK|YT"),
}
_COUNTRIES = re.compile(
    "A[DEFGILMOQRSTUWXZ]|B[ABDEFGHIJLMNOQRSTVWYZ]|C[ACDFGHIKLMNORUVWXYZ]|D[EJKMOZ]|E[CEGHRST]|F[IJKMOR]|"
    "G[ABDEFGHILMNPQRSTUWY]|H[KMNRTU]|I[DELMNOQRST]|J[EMOP]|K[EGHIMNPRWYZ]|L[ABCIKRSTUVY]|"
    "M[ACDEFGHKLMNOPQRSTUVWXYZ]|N[ACEFGILOPRUZ]|OM|P[AEFGHKLMNRSTWY]|QA|R[EOSUW]|S[ABCDEGHIJKLMNORSTVXYZ]|"
    "T[CDFGHJKLMNORTVWZ]|U[AGMSYZ]|V[ACEGINU]|W[FS]|XK|Y[ET]|Z[AMW]"
)
# How many digits a code has, with what it is parted by, where a spreadsheet would take zeros in front away.
_DIGITS: Mapping[int, str] = {
    4: "AT AU BE BG CH CY DK HU LI LU LV NO NZ PH SI TN ZA",
    5: "CZ DE EE ES FI FR GR HR IT KR LT MX MY PL SA SE SK TR UA",
    6: "CN RO SG",
    7: "IL JP PT",
    8: "BR",
}
_IN_WORDS = {4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
_DIGITS_OF = {country_code: digits for digits, codes in _DIGITS.items() for country_code in codes.split()}
# As they are written at home: LV-1010, LT-01001, SI 1000, 5 or 7 digits of an older and a newer form.
_WITH_COUNTRY = frozenset({"LV", "LT", "SI", "LU", "CZ", "SK", "SE", "GR", "HR", "FI"})
_TWO_FORMS: Mapping[str, frozenset[int]] = {"IL": frozenset({5, 7}), "PT": frozenset({4, 7}), "SA": frozenset({5, 9})}
_ZIP = re.compile("(?!00000)[0-9]{5}(?:[- ]?[0-9]{4})?")
_POSTAL_CODES: Mapping[str, re.Pattern[str]] = dict.fromkeys(("US", "PR", "GU", "VI", "AS", "MP"), _ZIP) | {
    "CA": re.compile("[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]", re.IGNORECASE)
}


def email(text: str) -> str:
    """The e-mail address, its letters composed, as mail systems compare them.

    Raises:
        Unfit: nobody can have it.
    """
    text = unicodedata.normalize("NFC", text)
    if problem := unseen_character(text) or lost_letter(text) or _more_than_an_address(text):
        raise Unfit(problem)
    local, _, domain = text.rpartition("@")
    if not _LOCAL.fullmatch(_in_ascii(local)) or len(local) > 64 or not _is_domain(domain):
        raise Unfit(_EMAIL)
    if problem := _beyond_reach(local, domain):
        raise Unfit(problem)
    if meant := _NO_TOP_LABEL.get(ending := domain.rpartition(".")[2].lower()):
        raise Unfit(f"ends in .{ending}, as no address does; did you mean .{meant}?")
    return text


def _beyond_reach(local: str, domain: str) -> str | None:
    """Why no mail comes there although it is written as an address."""
    if _LOST_OR_MASKED.fullmatch(local):
        return "holds ? or * where a letter was lost or masked: write the address itself"
    if domain.rpartition(".")[2].lower() in _WITHIN_A_NETWORK:
        return "is an address within a network, where no mail from outside arrives"
    if any(_mixes_alphabets(label) for label in (*local.split("."), *domain.split("."))):
        return "holds letters of two alphabets that look alike: retype it"
    return None


def _mixes_alphabets(label: str) -> bool:
    """Whether Latin letters stand beside Cyrillic or Greek ones, as no domain is given out and nobody types."""
    names = {unicodedata.name(letter, "").split(" ")[0] for letter in label if letter.isalpha()}
    return not label.isascii() and "LATIN" in names and bool(names & {"CYRILLIC", "GREEK"})


def _in_ascii(text: str) -> str:
    """The text with a plain letter for each one of another alphabet, so that only signs are judged."""
    if text.isascii():
        return text
    return "".join(
        "a" if not letter.isascii() and unicodedata.category(letter)[0] in "LMN" else letter for letter in text
    )


def _more_than_an_address(text: str) -> str | None:
    if text.count("@") > 1 or re.search(r"[;,|/]\s*$", text):
        return "must be one e-mail address and nothing else: write each recipient into a row of their own"
    if text.casefold().startswith("mailto:") or re.search(r'[<>"]', text):
        return "must be an e-mail address alone, such as name@example.com, without a name, brackets or mailto:"
    return None


def _is_domain(domain: str) -> bool:
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(_in_ascii(label)) for label in labels):
        return False
    try:
        length = len(domain if domain.isascii() else domain.encode("idna"))
    except UnicodeError:
        return False
    return length <= 253 and bool(not labels[-1].isascii() or _TOP_LABEL.fullmatch(labels[-1]))


def telephone(text: str) -> str:
    """A telephone number of 7 to 15 digits, as they are written in any country.

    Raises:
        Unfit: it can be none.
    """
    digits = re.sub("[^0-9]", "", text)
    if _SHORTENED.fullmatch(text.lstrip("+")):
        raise Unfit("was taken for a number by a spreadsheet: format the column as text and write it again")
    if not _TELEPHONE.fullmatch(text) or not 7 <= len(digits) <= 15 or len(set(digits)) == 1:
        raise Unfit("must be a telephone number of 7 to 15 digits, such as +15550100")
    return text


def named(text: str) -> str:
    """The text of a name or a place, which has a letter. Raises Unfit where it has none."""
    if not any(map(str.isalpha, located(text))):
        raise Unfit("holds no letter: fill it in")
    return text


def located(text: str) -> str:
    """The text of a street or a house, which has a letter or a digit. Raises Unfit where it has none."""
    if problem := lost_letter(text) or spreadsheet_error(text) or placeholder(text):
        raise Unfit(problem)
    if not any(map(str.isalnum, text)) or text.casefold() == "n/a":
        raise Unfit("holds no letter and no digit of an address: fill it in")
    return text


def country(text: str) -> str:
    """The ISO code of the country, in capitals. Raises Unfit for none."""
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise Unfit("must be two letters, such as US")
    if not _COUNTRIES.fullmatch(text.upper()):
        hint = ": did you mean GB?" if text.upper() == "UK" else ": look it up in ISO 3166"
        raise Unfit(f"is not the code of a country{hint}")
    return text.upper()


def state(text: str, country_code: str | None) -> str:
    """The code of the state, in capitals. Raises Unfit where the country, US or CA, has none of this code."""
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise Unfit("must be two letters, such as MA")
    states = _STATES.get(country_code or "")
    if states and not states.fullmatch(text.upper()):
        raise Unfit(f"is not the code of a state of {country_code}, such as {'ON' if country_code == 'CA' else 'MA'}")
    return text.upper()


def postal_code(text: str, country_code: str | None) -> str:
    """The postal code. Raises Unfit for one that a spreadsheet altered, or that the country cannot have."""
    if problem := unseen_character(text) or lost_letter(text) or spreadsheet_error(text) or placeholder(text):
        raise Unfit(problem)
    if _SHORTENED.fullmatch(text):
        raise Unfit(f"was taken for a number by a spreadsheet: {_WITHOUT_ZEROS}")
    if digits := _DIGITS_OF.get(country_code or ""):
        return _of_digits(text, country_code or "", digits)
    pattern = _POSTAL_CODES.get(country_code or "")
    if pattern is None or pattern.fullmatch(text):
        return text
    if pattern is _ZIP:
        raise Unfit(f"must be five digits, such as 01234, or nine, such as 01234-0001; {_WITHOUT_ZEROS}")
    raise Unfit("must be a postal code of Canada, such as K1A 0B1")


def _of_digits(text: str, country_code: str, digits: int) -> str:
    """The postal code of so many digits, which a space or a dash may part."""
    bare = re.sub(rf"^{country_code}[- ]?", "", text, flags=re.IGNORECASE) if country_code in _WITH_COUNTRY else text
    plain = re.sub(r"(?<=[0-9])[- ](?=[0-9])", "", bare)
    if re.fullmatch("[0-9]+", plain) and len(plain) in _TWO_FORMS.get(country_code, {digits}):
        return text
    raise Unfit(f"must have {_IN_WORDS[digits]} digits in {country_code}; {_WITHOUT_ZEROS}")
