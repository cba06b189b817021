"""Gates of a promotion: `nDCG@10 >= live - 0.005`, `overlap@10 >= 0.8`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from embedhouse.domain.errors import Conflict, InvalidInput
from embedhouse.domain.upgrades import JudgedMeasure, ShadowReport

__all__ = ["Gate", "check_gates", "judged_measures_of", "parse_gate"]

_FORM = re.compile(
    r"\s*(?P<measure>[A-Za-z]+@?\d*)\s*>=\s*(?:(?P<live>live)\s*(?:(?P<sign>[+-])\s*(?P<by>\d*\.?\d+))?|"
    r"(?P<least>\d*\.?\d+))\s*"
)
_OF_SHADOW = {"overlap@10": "overlap_at_10", "correlation": "rank_correlation"}


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """`measure` is at least `value`; relative to the live generation's where `relative`."""

    text: str
    measure: str
    relative: bool
    value: float


def parse_gate(text: str) -> Gate:
    """Errors: InvalidInput, with the form."""
    found = _FORM.fullmatch(text)
    if found is None or (found["live"] and found["measure"] in _OF_SHADOW):
        raise InvalidInput(
            reason=f"{text!r} is not a gate. Write 'nDCG@10 >= live - 0.005', 'RR@10 >= 0.6' or "
            "'overlap@10 >= 0.8'; `correlation` is the rank correlation of the shadow."
        )
    if found["live"]:
        by = float(found["by"] or 0)
        value = -by if found["sign"] == "-" else by
        return Gate(text=text.strip(), measure=found["measure"], relative=True, value=value)
    return Gate(text=text.strip(), measure=found["measure"], relative=False, value=float(found["least"]))


def judged_measures_of(gates: Sequence[Gate]) -> list[str]:
    """The measures that need judged queries."""
    return [gate.measure for gate in gates if gate.measure not in _OF_SHADOW]


def check_gates(gates: Sequence[Gate], report: ShadowReport) -> list[str]:
    """What each gate found, in words. A gate relative to the live generation holds when the whole 95 % interval of
    the difference does. Errors: Conflict for the first that does not hold, or for which nothing was measured."""
    judged = {measure.measure: measure for measure in report.judged}
    return [_check(gate, report, judged) for gate in gates]


def _check(gate: Gate, report: ShadowReport, judged: Mapping[str, JudgedMeasure]) -> str:
    if gate.measure in _OF_SHADOW:
        found = getattr(report, _OF_SHADOW[gate.measure])
        if found is None:
            reason = f"Gate {gate.text!r} needs queries on the shadow, and there were none"
            raise Conflict(reason=f"{reason}: give it a share with `embedhouse upgrade shadow`.")
        return _said(gate, found >= gate.value, f"{found:.4f} over {report.queries} queries")
    measure = judged.get(gate.measure)
    if measure is None:
        raise Conflict(reason=f"Gate {gate.text!r} needs judged queries: give --queries and --qrels.")
    if gate.relative:
        said = (
            f"live {measure.live:.4f}, new {measure.shadow:.4f}, difference {measure.difference:+.4f} "
            f"[{measure.low:+.4f}, {measure.high:+.4f}] over {measure.queries} queries"
        )
        return _said(gate, measure.low >= gate.value, said)
    return _said(gate, measure.shadow >= gate.value, f"{measure.shadow:.4f} over {measure.queries} queries")


def _said(gate: Gate, holds: bool, found: str) -> str:
    if not holds:
        raise Conflict(reason=f"Gate {gate.text!r} does not hold: {found}. Nothing was changed.")
    return f"{gate.text}: {found}"
