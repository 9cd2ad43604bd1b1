"""One row of the table of budgets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row: the value in its unit, the reference beside it, and the budget for ratio or value."""

    what: str
    value: float
    unit: str
    reference: float | None
    budget: float

    def row(self) -> str:
        measured = self.value / self.reference if self.reference else self.value
        unit = "x" if self.reference else self.unit
        verdict = "met" if measured <= self.budget else "OVER"
        beside = "" if self.reference is None else f"beside {self.reference:.4g} {self.unit}"
        return (
            f"{self.what:<44} {self.value:>9.4g} {self.unit:<4} {beside:<22} "
            f"{measured:>8.2f} {unit:<4} budget {self.budget:>6g} {unit:<4} {verdict}"
        )
