"""A bench under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from etcc_edge.arrays import I32
from etcc_edge.bundle import Bundle

from .contenders.backends import BACKEND, Contender
from .figures import FAILED, ContenderFigures, Measurement, ProcessFigures, Report, ServerFigures, TurnFigures
from .prepare import BenchPlan, Material
from .processes import Process
from .timing.turns import Turns

Progress = Callable[[str, float, float], None]  # what is done from now on, and how much of how much is done


@dataclass
class Underway:
    """Its plan, its report so far, and what later parts need of earlier ones: ``offline``, the turns on all threads,
    and ``codes``, the labels given then (int32 [levels, n]), both by contender."""

    plan: BenchPlan
    report: Report
    material: Material
    progress: Progress
    offline: dict[str, Turns] = field(default_factory=dict)
    codes: dict[str, I32] = field(default_factory=dict)
    done_seconds: float = 0.0
    total_seconds: float = 0.0

    @property
    def bundle(self) -> Bundle:
        return self.material.bundle

    def begin(self, step: str, seconds: float) -> None:
        """Shows a step that takes about so long."""
        self.progress(step, self.done_seconds, max(self.total_seconds, self.done_seconds + seconds))
        self.done_seconds += seconds

    def figures(self, contender: Contender) -> ContenderFigures:
        return self.report.contenders[contender.key]

    def usable(self) -> list[Contender]:
        """The contenders that can run here and have not failed yet."""
        return [contender for contender in self.material.contenders if not self.figures(contender).reason]

    def backends(self) -> list[Contender]:
        return [contender for contender in self.usable() if contender.kind == BACKEND]

    def fail(self, contender: Contender, reason: str) -> None:
        figures = self.figures(contender)
        figures.status, figures.reason = FAILED, reason


def measurement(
    contender: Contender | Process,
    scenario: str,
    threads: int,
    batch: int | None,
    figures: TurnFigures | ServerFigures | ProcessFigures | None,
    error: str = "",
) -> Measurement:
    """A row of the report."""
    return Measurement(
        contender=contender.name,
        precision=contender.precision,
        kind=contender.kind,
        scenario=scenario,
        threads=threads,
        batch=batch,
        figures=figures,
        error=error,
    )
