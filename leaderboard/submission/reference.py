"""A model's BibTeX entry, read as Brain-Score reads it."""

from pybtex.database import InvalidNameString
from pybtex.database.input import bibtex as bibtex_input
from pybtex.exceptions import PybtexError

from itprobe.errors import InputError


def check_reference(text: str) -> str:
    """Check that BibTeX is one entry with an author, a year and an address.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        ``author, year``.

    Raises
    ------
    InputError
        If Brain-Score could not make a reference of it.
    """
    try:
        entries = list(bibtex_input.Parser().parse_string(text).entries.values())
    except (PybtexError, InvalidNameString, RecursionError) as error:
        raise InputError(
            f"the BibTeX cannot be read ({' '.join(str(error).split())[:200]}); mend it"
        ) from None
    if len(entries) != 1:
        raise InputError(f"the BibTeX holds {len(entries)} entries; Brain-Score takes exactly one")
    (entry,) = entries
    missing = [name for name in ("author",) if not entry.persons.get(name)]
    missing += [name for name in ("year",) if name not in entry.fields]
    if not entry.fields.get("url") and "doi" not in entry.fields:
        missing.append("url or doi")
    if missing:
        raise InputError(
            f"the BibTeX entry {entry.key!r} lacks {', '.join(missing)}, which Brain-Score needs"
        )
    last = entry.persons["author"][0].last_names
    return f"{' '.join(last)}, {entry.fields['year']}"
