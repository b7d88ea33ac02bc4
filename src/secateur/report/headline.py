"""The result of a run in one line: costs and accuracy, dense and slim."""

import json
from dataclasses import dataclass

from secateur.benchmark.benchmark import Measurement
from secateur.benchmark.pictures import RANDOM
from secateur.report.charts.number_text import WORSE, compact, is_same
from secateur.report.run_record import RunRecord, role


@dataclass(frozen=True, slots=True)
class Cost:
    """One cost of the dense and of the slim network.

    Attributes:
        name: of the cost.
        dense: in ``unit``.
        slim: in ``unit``.
        unit: ``B`` or ``ms``; empty for counts.
        better: word for a smaller cost: ``fewer``, ``smaller`` or ``faster``.
        how: how it was measured; empty for what can be counted.
        where: on which machine and pictures, for costs that depend on them.
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
        """What costs must have in common to be compared between runs."""
        return self.name, self.how, self.where

    @property
    def times(self) -> float:
        """Dense ÷ slim."""
        return self.dense / self.slim

    @property
    def factor(self) -> str:
        """By what factor the cost fell or rose, as text; ``the same`` if it did neither."""
        if is_same(self.slim / self.dense):
            return "the same"
        return f"{max(self.times, 1 / self.times):.1f}×"

    @property
    def word(self) -> str:
        """``better`` or its opposite; empty if the cost is the same."""
        if is_same(self.slim / self.dense):
            return ""
        return self.better if self.times >= 1 else WORSE[self.better]

    @property
    def gain(self) -> str:
        """The words after the factor: ``fewer parameters``."""
        if self.better == "faster" and self.word:
            return self.word
        return f"{self.word} {self.name}".strip()

    @property
    def texts(self) -> tuple[str, str]:
        """Dense and slim, with the unit."""
        return self.text(self.dense), self.text(self.slim)

    def text(self, value: float) -> str:
        """A value with its unit, to three significant digits."""
        return f"{compact(value)}{'' if self.unit == 'B' else ' '}{self.unit}".strip()


@dataclass(frozen=True, slots=True)
class Headline:
    """The costs, and the accuracy in percent by the recipe's metric."""

    costs: list[Cost]
    metric: str
    split: str
    dense: float
    slim: float

    @property
    def accuracy(self) -> str:
        """Accuracy of dense and slim, and the change in points."""
        change = f"{self.slim - self.dense:+.1f}".replace("-", "−")
        around = "" if change in ("+0.0", "−0.0") else f" ({change})"
        return f"{self.metric} {self.dense:.1f} → {self.slim:.1f}{around} on {self.split}"


def headline(run: RunRecord) -> Headline | None:
    """Summarise a run; None until it is finished."""
    summary = run.summary
    if summary is None:
        return None
    dense, slim = summary.dense, summary.slim
    costs = [
        Cost("parameters", dense.params, slim.params, "", "fewer"),
        Cost("MACs", dense.macs, slim.macs, "", "fewer"),
        Cost("file", dense.bytes, slim.bytes, "B", "smaller"),
    ]
    before, after = dense.metrics[summary.metric], slim.metrics[summary.metric]
    assert before is not None and after is not None  # noqa: S101, PT018 # read_run checks it
    return Headline(costs + latencies(run)[:1], summary.metric, summary.split, before, after)


def latencies(run: RunRecord) -> list[Cost]:
    """Pair the latencies of the two networks that were measured under the same conditions.

    For each pair, the latency with NMS comes before that of the network alone.
    """
    latency = run.latency
    if latency is None:
        return []
    pairs: dict[tuple[str, int, str], dict[str, Measurement]] = {}
    for each in latency.measurements:
        runtime = f"{each.runtime} compiled" if each.compiled else each.runtime
        if role(each) in ("dense", "slim"):
            pairs.setdefault((runtime, each.batch, each.precision), {})[role(each)] = each
    threads = f"{latency.threads} thread{'s' if latency.threads > 1 else ''}"
    where = f"{latency.pictures} {json.dumps(latency.made_by.get('machine'), sort_keys=True)}"
    # The number of boxes found in random bytes, and so the time of NMS, is not that of pictures.
    noise = "on random bytes" if latency.pictures == RANDOM else ""
    costs = []
    for (runtime, batch, precision), pair in pairs.items():
        if len(pair) < 2:
            continue
        detects = run.metric != "top1"
        for part, what in (("whole", "with NMS" if detects else ""), ("network", "network alone")):
            dense, slim = getattr(pair["dense"], part), getattr(pair["slim"], part)
            if dense and slim:
                entries = [runtime, precision, f"batch {batch}", threads, what, noise]
                how = ", ".join(entry for entry in entries if entry)
                costs.append(Cost("latency", dense.median, slim.median, "ms", "faster", how, where))
    return costs
