"""What a run came to, in one line."""

import json
from dataclasses import dataclass

from secateur.benchmark.pictures import RANDOM
from secateur.report.artifacts import Measurement
from secateur.report.charts.number_text import WORSE, compact, is_same
from secateur.report.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class Cost:
    """One cost of the dense and of the slim network.

    Attributes:
        name: of the cost.
        dense: in ``unit``.
        slim: likewise.
        unit: ``B`` or ``ms``; empty of counts.
        better: what a smaller one is: ``fewer``, ``smaller``, ``faster``.
        how: how it was measured, where that needs saying.
        where: on what machine and which pictures, of what depends on them.
    """

    name: str
    dense: float
    slim: float
    unit: str
    better: str
    how: str = ""
    where: str = ""

    @property
    def kind(self) -> tuple[str, str, str]:
        """What costs of several runs must have in common to be compared."""
        return self.name, self.how, self.where

    @property
    def times(self) -> float:
        """How many times less the slim network costs."""
        return self.dense / self.slim

    @property
    def factor(self) -> str:
        """How many times it got less, or more where it did, or that it is the same."""
        if is_same(self.slim / self.dense):
            return "the same"
        return f"{max(self.times, 1 / self.times):.1f}×"

    @property
    def word(self) -> str:
        """What it became: ``fewer``, or ``more``; nothing where it is the same."""
        if is_same(self.slim / self.dense):
            return ""
        return self.better if self.times >= 1 else WORSE[self.better]

    @property
    def gain(self) -> str:
        """What it became, with its name, behind the factor."""
        if self.better == "faster" and self.word:
            return self.word
        return f"{self.word} {self.name}".strip()

    @property
    def texts(self) -> tuple[str, str]:
        """Before and after, with the unit."""
        return self.text(self.dense), self.text(self.slim)

    def text(self, value: float) -> str:
        """A value with its unit, in three figures."""
        return f"{compact(value)}{'' if self.unit == 'B' else ' '}{self.unit}".strip()


@dataclass(frozen=True, slots=True)
class Headline:
    """The costs, and the accuracy by the recipe's metric, in percent."""

    costs: list[Cost]
    metric: str
    split: str
    dense: float
    slim: float

    @property
    def accuracy(self) -> str:
        """Accuracy before and after, and by how many points it changed."""
        change = f"{self.slim - self.dense:+.1f}".replace("-", "−")
        around = "" if change in ("+0.0", "−0.0") else f" ({change})"
        return f"{self.metric} {self.dense:.1f} → {self.slim:.1f}{around} on {self.split}"


def headline(run: RunRecord) -> Headline | None:
    """Sum up a run; None before it is finished."""
    summary = run.summary
    if summary is None:
        return None
    dense, slim = summary.dense, summary.slim
    costs = [
        Cost("parameters", dense.params, slim.params, "", "fewer"),
        Cost("MACs", dense.macs, slim.macs, "", "fewer"),
        Cost("file", dense.bytes, slim.bytes, "B", "smaller"),
    ]
    metric = run.recipe.evaluate.metric
    return Headline(
        costs + latencies(run)[:1],
        metric,
        summary.split,
        dense.metrics[metric],
        slim.metrics[metric],
    )


def latencies(run: RunRecord) -> list[Cost]:
    """Pair the speeds of the two networks that were measured alike.

    First what a user waits for, with NMS, then the network alone.
    """
    latency = run.latency
    if latency is None:
        return []
    pairs: dict[tuple[str, int, str], dict[str, Measurement]] = {}
    for each in latency.measurements:
        runtime = f"{each.runtime} compiled" if each.compiled else each.runtime
        if each.role in ("dense", "slim"):
            pairs.setdefault((runtime, each.batch, each.precision), {})[each.role] = each
    threads = f"{latency.threads} thread{'s' if latency.threads > 1 else ''}"
    where = f"{latency.pictures} {json.dumps(latency.made_by.machine, sort_keys=True)}"
    # So many boxes are found in them as in no picture, or none.
    noise = "on random bytes" if latency.pictures == RANDOM else ""
    costs = []
    for (runtime, batch, precision), pair in pairs.items():
        if len(pair) < 2:
            continue
        detects = run.recipe.evaluate.metric != "top1"
        for part, what in (("whole", "with NMS" if detects else ""), ("network", "network alone")):
            dense, slim = getattr(pair["dense"], part), getattr(pair["slim"], part)
            if dense and slim:
                entries = [runtime, precision, f"batch {batch}", threads, what, noise]
                how = ", ".join(entry for entry in entries if entry)
                costs.append(Cost("latency", dense.median, slim.median, "ms", "faster", how, where))
    return costs
