"""Measures by name, as ir-measures writes them: `nDCG@10`, `RR@10`, `R(rel=2)@100`.

MacAvaney, Macdonald, Ounis: Streamlining Evaluation with ir-measures, ECIR 2022.
"""

from __future__ import annotations

import re
import warnings

import ir_measures

from embedhouse.domain.errors import InvalidInput

__all__ = ["DEFAULT_MEASURES", "parse_measures"]

DEFAULT_MEASURES = "nDCG@10,RR@10,R@100"

_BETWEEN_MEASURES = re.compile(r"[,\s]+(?![^()]*\))")
# The package's gdeval runs a Perl script that its wheel does not carry.
_PROVIDERS = [provider for provider in ir_measures.DefaultPipeline.providers if provider.NAME != "gdeval"]


def parse_measures(text: str) -> list[ir_measures.Measure]:
    """Measures from a list with commas or spaces between them, each once, in the order given.

    Errors: InvalidInput that names what would work.
    """
    names = [name for name in _BETWEEN_MEASURES.split(text.strip()) if name]
    if not names:
        raise InvalidInput(reason=f"No measure is named. Try {DEFAULT_MEASURES}.")
    return list(dict.fromkeys(_parse(name) for name in names))


def _parse(name: str) -> ir_measures.Measure:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the parser uses ast.Num, deprecated in 3.12
            measure = ir_measures.parse_measure(name)
        supporting = [provider for provider in _PROVIDERS if provider.supports(measure)]
    except (ValueError, NameError, AssertionError, TypeError, AttributeError) as error:
        raise _unknown(name, str(error)) from error
    if measure.params.get("cutoff", 1) < 1:
        raise _unknown(name, "its cutoff must be 1 or more")
    if not supporting:
        raise _unknown(name, "nothing computes it in this form (some measures need a cutoff: R@100)")
    if not any(provider.is_available() for provider in supporting):
        raise _unknown(name, f"it needs a package. {supporting[0].install_instructions()}")
    return measure


def _unknown(name: str, reason: str) -> InvalidInput:
    works = "nDCG@10, RR@10, R@100, P@5, AP, AP@100, Success@5, Rprec, Bpref, Judged@10, nDCG, R(rel=2)@100"
    return InvalidInput(reason=f"Measure {name!r} cannot be used: {reason}. These work, for example: {works}.")
