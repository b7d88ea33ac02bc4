"""Many networks that Secateur was not written for: traced, cut by half, verified, loaded back.

``python benchmarks/networks.py`` tries the networks of ``network_list.py`` and writes
``benchmarks/results/networks.json``. It needs the extra ``networks``; networks of packages that are
not installed are left out and counted. All weights are random, and nothing is downloaded.

Each network has a process of its own with a limit of time and of memory, so that a hang or a crash
is a row of the table. Finished rows are kept in ``--work``; a second call resumes there, and
``--again`` repeats the rows that are not verified. The steps of a row:

- ``trace``: ``secateur.channel_groups``;
- ``removal``: half of the channels of every group that can be pruned, drawn at random;
- ``verification``: ``secateur.verify_removal`` on random inputs. Where it finds that the forward
  pass computes with the number of channels, the groups that cause it are fixed, as
  ``secateur.compress`` does, and the rest is cut: ``fixing``;
- ``way back``: the slim network is saved, and a fresh instance shrunk to the file; its outputs must
  equal the slim network's.

Seconds are processor times of one thread; torch's tracer is loaded before the first network. The
*reach* is the share of the parameters that would be gone if every group that can be pruned lost all
its channels; *unused* is the share that no layer of the forward pass reads.

At the end, two YOLO detectors are compressed in full (``yolo.py``).
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import secateur
import yolo
from checks import at_least, at_most, equal, print_checks
from network_list import NAMES, awaken, build, inputs, names
from secateur.errors import PruningError, SecateurError, first_line
from secateur.files.atomic_write import write_json
from secateur.pruning.graph.groups import ChannelGraph
from secateur.pruning.verification import fix_unverified
from secateur.run.context import provenance

HERE = Path(__file__).parent
SEED = 20261201
SECONDS, MIB = 240, 8192  # limits of one network: of the clock, and of memory beyond the start's
TRIED, VERIFIED, REACH, TYPICAL_S = 150, 0.97, 0.97, 1.0
LONGEST = 300  # characters of a message
LIKE = 1e-4  # of the largest output, in single precision
DETECTORS = ("yolov8n", "yolo11n")
Row = dict[str, Any]


def try_network(name: str) -> Row:
    """Take one network through all steps.

    Returns:
        What was found; ``status`` is *verified*, *nothing* (no group can be pruned), *refused* (in
        one line) or *failed* (any other error, or other outputs).
    """
    torch.manual_seed(SEED)
    model = build(name)
    awaken(model)
    x = inputs(name, model)
    row: Row = {"inputs": [list(each.shape) for each in tree_leaves(x)]}
    seconds: dict[str, float] = {}
    row["seconds"] = seconds
    print(BUILT, flush=True)
    try:
        with clock(seconds, "trace"):
            graph = secateur.channel_groups(model, x)
        row |= sizes(graph)
        if not graph.prunable():
            return row | {"status": "nothing"}
        with clock(seconds, "removal"):
            kept = half(graph)
            slim = secateur.remove_filters(model, graph, kept)
        try:
            with clock(seconds, "verification"):
                row |= verified(model, slim, graph, kept, x)
        except PruningError as error:
            row["first_refusal"] = first_line(error)
            with clock(seconds, "fixing"):
                graph = fix_unverified(model, graph, x)
                kept = half(graph)
                slim = secateur.remove_filters(model, graph, kept)
                row |= verified(model, slim, graph, kept, x)
            row |= sizes(graph)
            if not kept:
                return row | {"status": "nothing"}
        row["left"] = dict(zip(("params", "macs"), graph.cost(lengths(kept)), strict=True))
        with clock(seconds, "way back"):
            back = way_back(name, slim)
        row["back_difference"] = gap = difference(slim, back, x)
        if not gap <= 1e-6:
            return row | {"status": "failed", "message": f"loaded back, it differs by {gap:g}"}
    except SecateurError as error:
        return row | {"status": "refused", "message": str(error)}
    except Exception as error:
        print(traceback.format_exc(), file=sys.stderr)
        return row | {"status": "failed", "message": f"{type(error).__name__}: {first_line(error)}"}
    return row | {"status": "verified"}


def verified(
    model: nn.Module, slim: nn.Module, graph: ChannelGraph, kept: dict[str, Tensor], x: Any
) -> Row:
    """Verify the removal, and say in which precision."""
    found = secateur.verify_removal(model, slim, graph, kept, x)
    return {"difference": float(found), "precision": found.precision}


def half(graph: ChannelGraph) -> dict[str, Tensor]:
    """Keep half of the channels of every group that can be pruned, drawn at random."""
    kept = {}
    for name, group in graph.prunable().items():
        count = max(group.least, (group.units + 1) // 2)
        kept[name] = group.channels_of(torch.randperm(group.units)[:count])
    return kept


def lengths(kept: dict[str, Tensor]) -> dict[str, int]:
    """Number of kept channels by group."""
    return {name: len(indices) for name, indices in kept.items()}


def sizes(graph: ChannelGraph) -> Row:
    """Size and reach of a network, and why most of what stays whole stays so."""
    params, macs = graph.cost()
    gone, _ = graph.cost(dict.fromkeys(graph.prunable(), 0))
    fixed: Counter[str] = Counter()
    for group in graph.groups.values():
        if group.fixed is not None and group.producers:
            fixed[group.fixed] += group.channels
    return {
        "params": params,
        "macs": macs,
        "groups": len(graph.groups),
        "prunable": len(graph.prunable()),
        "reach": 1 - gone / params,
        "unused": unused(graph) / params,
        "whole": [{"reason": reason, "channels": n} for reason, n in fixed.most_common(4)],
    }


def unused(graph: ChannelGraph) -> int:
    """Count the parameters that are part of no group."""
    used = {member.name for group in graph.groups.values() for member in group.members}
    return sum(math.prod(graph.shapes[name]) for name in graph.parameters - used)


def compress_yolo(name: str) -> Row:
    """Compress a detector in full, and compare its file and its export with it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter
        row = yolo.compress(f"{name}.yaml", Path(folder))
    return row | {"status": "verified"}


def way_back(name: str, slim: nn.Module) -> nn.Module:
    """Save the slim network, and shrink a fresh instance to the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slim.safetensors"
        secateur.save(path, slim)
        torch.manual_seed(SEED + 1)
        print(BUILDING, flush=True)
        fresh = build(name)
        print(BUILT, flush=True)
        return secateur.shrink_to(fresh, path)


@torch.no_grad()
def difference(a: nn.Module, b: nn.Module, x: Any) -> float:
    """Largest difference of two networks' outputs, as a share of the output's largest magnitude."""
    args = x if isinstance(x, tuple) else (x,)
    ones, others = (
        [y for y in tree_leaves(m.eval()(*args)) if isinstance(y, Tensor)] for m in (a, b)
    )
    if [y.shape for y in ones] != [y.shape for y in others]:
        return math.inf
    largest = 0.0
    for one, other in zip(ones, others, strict=True):
        if not torch.equal(one, other):
            gap = (one - other).abs().max() / one.abs().max().clamp_min(1e-30)
            largest = max(largest, float(gap.nan_to_num(math.inf)))
    return largest


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Record the processor time of a step, also of one that fails."""
    start = time.process_time()
    try:
        yield
    finally:
        seconds[name] = time.process_time() - start


# ---- a process for each network ----

# They separate what a definition prints from what Secateur prints.
BUILDING, BUILT = "-- building --", "-- built --"


def apart(work: Callable[[str], Row], name: str, log: Path, seconds: float) -> Row:
    """Make the row of a network in a process of its own, within limits."""
    context = multiprocessing.get_context("fork")  # a fresh one would import for seconds
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, name, log, theirs))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of its threads
        process.start()
    theirs.close()
    late, row = not ours.poll(seconds), Row()
    if not late:
        with contextlib.suppress(EOFError):  # it died
            row = ours.recv()
            process.join(10)
    process.kill()
    process.join()
    if not row:
        message = f"took longer than {seconds:g} s" if late else f"died: {process.exitcode}"
        row = {"status": "failed", "message": message}
    text = log.read_text("utf-8", errors="replace")
    parts = [] if row["status"] == "failed" else text.split(BUILT)[1:]
    printed = "".join(part.partition(BUILDING)[0].strip() for part in parts)
    row["printed_lines"] = len(printed.splitlines())
    if "message" in row:  # a list of symbols may be pages long
        row["message"] = row["message"][:LONGEST]
    return {"network": name, **row, "wall_s": time.perf_counter() - start}


def _child(work: Callable[[str], Row], name: str, log: Path, pipe: Connection) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    most = used + MIB * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        row = work(name)
    except Exception as error:
        traceback.print_exc()
        row = {"status": "failed", "message": f"{type(error).__name__}: {first_line(error)}"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send(row | {"mib": round(peak / 2**20)})
    sys.stdout.flush()
    sys.stderr.flush()


def warm_up(packages: list[str]) -> None:
    """Import once what every process needs."""
    for package in packages:
        find_spec(package) and __import__(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.randn(1, 3, 8, 8)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        graph = secateur.channel_groups(model.eval(), x)
        secateur.verify_removal(model, secateur.remove_filters(model, graph, {}), graph, {}, x)


# ---- the result ----


def checks(rows: list[Row], detectors: list[Row]) -> list[dict[str, Any]]:
    """Compare with the targets."""
    verified = [row for row in rows if row["status"] == "verified"]
    seconds = [row["seconds"]["trace"] + row["seconds"]["removal"] for row in verified]
    found = [
        at_least("networks tried", len(rows), TRIED),
        at_least("share verified and loaded back", len(verified) / len(rows), VERIFIED),
        equal("errors other than a refusal in one line", count(rows, "failed"), 0),
        at_least("median reach of those verified", median(row["reach"] for row in verified), REACH),
        at_most("median seconds of trace and removal", median(seconds), TYPICAL_S),
        equal("lines that reached the terminal", sum(row["printed_lines"] for row in rows), 0),
    ]
    if detectors:
        whole = [each for each in detectors if each["status"] == "verified"]
        gaps = [each[f"{way}_difference"] for each in whole for way in ("loaded", "onnx")]
        found += [
            equal("detectors compressed, saved, loaded and exported", len(whole), len(DETECTORS)),
            at_most(
                "their largest difference when loaded or exported", max(gaps, default=1.0), LIKE
            ),
        ]
    return found


def in_short(row: Row) -> Row:
    """Shorten a row: figures that are read, and the main reasons for what stays whole."""
    short = {
        key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()
    }
    for key in ("difference", "back_difference"):
        if key in row:
            short[key] = float(f"{row[key]:.2g}")
    if "seconds" in row:
        short["seconds"] = {step: round(value, 2) for step, value in row["seconds"].items()}
    if "inputs" in row:
        short["inputs"] = ", ".join(" × ".join(map(str, shape)) for shape in row["inputs"])
    if "whole" in row:
        short["whole"] = "; ".join(f"{e['channels']}: {e['reason']}" for e in row["whole"][:2])
    return short | {"wall_s": round(row["wall_s"], 1)}


def count(rows: list[Row], status: str) -> int:
    """Count the rows of a status."""
    return sum(row["status"] == status for row in rows)


def versions() -> dict[str, str]:
    """Versions of the packages that define the networks."""
    found = {}
    for package in NAMES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Try all networks and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="pattern of the networks: timm/res*")
    parser.add_argument("--work", type=Path, default=Path("runs/networks"), help="rows and logs")
    parser.add_argument("--again", action="store_true", help="repeat what is not verified")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of one network")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "networks.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_CONFIG_DIR"] = str(arguments.work.resolve())
    packages = versions()
    warm_up(list(packages))

    def row(work: Callable[[str], Row], name: str) -> Row:
        stem = arguments.work / re.sub(r"\W", "-", name)
        path = stem.with_suffix(".json")
        found: Row = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        if not found or (arguments.again and found["status"] != "verified"):
            found = apart(work, name, stem.with_suffix(".log"), arguments.seconds)
            write_json(path, found)
            took = " ".join(f"{key} {value:.1f}" for key, value in found.get("seconds", {}).items())
            print(f"{name}: {found['status']} {found.get('message', '')} [{took}]", flush=True)
        return found

    wanted = [name for name in names() if fnmatch(name, arguments.only)]
    there = [name for name in wanted if name.partition("/")[0] in packages]
    rows = [row(try_network, name) for name in there]
    detectors = [
        row(compress_yolo, name)
        for name in DETECTORS
        if "ultralytics" in packages and fnmatch(name, arguments.only)
    ]
    held = checks(rows, detectors)
    result = {
        "what": "half of the channels of every group removed, verified, and loaded back",
        "seed": SEED,
        "limits": {"seconds": arguments.seconds, "mib": MIB},
        "packages": packages,
        "left_out": sorted(set(wanted) - set(there)),
        "count": dict(Counter(row["status"] for row in rows)),
        "networks": [in_short(each) for each in rows],
        "compressed": detectors,
        "checks": held,
        "provenance": provenance(),
    }
    write_json(arguments.out, result)
    print_checks(held)


if __name__ == "__main__":
    main()
