"""What a run came to, in one line."""

from dataclasses import dataclass
from pathlib import Path

from secateur.report.artifacts import Latency, Measurement
from secateur.report.charts.texts import compact
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
    """

    name: str
    dense: float
    slim: float
    unit: str
    better: str
    how: str = ""

    @property
    def times(self) -> float:
        """How many times less the slim network costs."""
        return self.dense / self.slim

    @property
    def gain(self) -> str:
        """What got less, behind the number of times."""
        return self.better if self.better == "faster" else f"{self.better} {self.name}"

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
        return f"{self.metric} {self.dense:.1f} → {self.slim:.1f} ({change}) on {self.split}"


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
        costs + latencies(run.latency)[:1],
        metric,
        summary.split,
        dense.metrics[metric],
        slim.metrics[metric],
    )


def latencies(latency: Latency | None) -> list[Cost]:
    """Pair the speeds of the two networks that were measured alike.

    First what a user waits for, with NMS, then the network alone.
    """
    if latency is None:
        return []
    pairs: dict[tuple[str, int, str], dict[str, Measurement]] = {}
    for each in latency.measurements:
        role = Path(each.model).name.partition(".")[0]
        if role in ("dense", "slim"):
            pairs.setdefault((each.runtime, each.batch, each.precision), {})[role] = each
    threads = f"{latency.threads} thread{'s' if latency.threads > 1 else ''}"
    costs = []
    for (runtime, batch, precision), pair in pairs.items():
        if len(pair) < 2:
            continue
        for part, what in (("whole", "with NMS"), ("network", "network alone")):
            dense, slim = getattr(pair["dense"], part), getattr(pair["slim"], part)
            if dense and slim:
                how = f"{runtime}, {precision}, batch {batch}, {threads}, {what}"
                costs.append(Cost("latency", dense.median, slim.median, "ms", "faster", how))
    return costs
