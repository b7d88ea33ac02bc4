"""Write the table in README.md, and docs/results.md, from the files in benchmarks/results/."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from secateur.experiments.methods import find_method

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# The table is between these lines of README.md.
START, END = "<!-- results -->\n", "<!-- end of results -->\n"

TITLES = {
    "quickstart": "Drawn signs (`make demo`)",
    "gtsdb_laptop": "GTSDB, four super-categories (`make bench-gtsdb`)",
    "vgg_gtsrb_laptop": "GTSRB, narrow VGG16 (`make bench-gtsrb`)",
    "vgg16_gtsrb": "GTSRB, VGG16 (`benchmarks/shipped_recipe.py vgg16_gtsrb`)",
    "vgg16_cifar10": "CIFAR-10, VGG16 (`benchmarks/shipped_recipe.py vgg16_cifar10`)",
}

# Results of another kind, each with a table of its own.
MEASURED = {
    "latency_cpu": "Latency of SSD300 at the paper's widths (`benchmarks/latency_cpu.py`)",
    "export_gtsdb": "Exports of the GTSDB network (`benchmarks/export_gtsdb.py`)",
    "postprocessing": "Decoding and NMS (`benchmarks/postprocessing.py`)",
    "evaluation_speed": "Average precision (`benchmarks/evaluation_speed.py`)",
    "without_training_quickstart": (
        "The quick start without training (`benchmarks/without_training.py`)"
    ),
    "removal_speed": "Graph, selection and removal (`benchmarks/removal_speed.py`)",
    "networks": "Networks of other projects (`benchmarks/networks.py`)",
    "threshold_search": "Threshold search (`benchmarks/threshold_search.py`)",
    "data_speed": "Training pictures (`benchmarks/data_speed.py`)",
    "latency_quickstart": "Latency of the quick start's networks (`secateur benchmark`)",
    "compare_quickstart": "Baselines on the quick start (`benchmarks/compare.py quickstart`)",
    "ablation_quickstart": "The effect of each part (`benchmarks/compare.py --ablation`)",
    "compare_gtsrb": "Baselines on GTSRB (`benchmarks/compare.py gtsrb`)",
    "ablation_gtsrb": "The effect of each part (`benchmarks/compare.py gtsrb --ablation`)",
    "training_speed_cuda": "Speed of training on a GPU (`benchmarks/training_speed.py`)",
    "training_speed_cpu": "Speed of training on a CPU (`benchmarks/training_speed.py`)",
    "growth": "Growth with pictures, classes, pixels and layers (`benchmarks/growth.py`)",
    "sweep_quickstart": "A sweep of the quick start (`benchmarks/sweep.py`)",
    "sweep_postgres": "Two processes at one sweep (`benchmarks/sweep_postgres.py`)",
    "several_processes": "Two processes at one run (`benchmarks/several_processes.py`)",
    "torture": "Kills and other faults (`make torture`)",
    "fuzz": "Hostile files (`benchmarks/fuzz.py`)",
    "memory": "Memory over long work (`benchmarks/memory.py`)",
    "report_quickstart": "The quick start's report (`benchmarks/report.py quickstart`)",
    "report_gtsdb_laptop": "The GTSDB run's report (`benchmarks/report.py gtsdb_laptop`)",
}

COMPARED = (
    "For each seed, every method starts from the same dense network and sees the same number of "
    "pictures. The table has the mean of three seeds on test ± its standard error. The best is in "
    "bold; in italics is what is within the best one's own standard error of it. The targets "
    "below, and what the text calls the error, use the standard error of the difference, seed by "
    "seed. The last column describes the method.\n\n"
)

# Methods that the result files know by an earlier name.
RENAMED = {"uneven": "no_balance", "unmended": "no_recalibration"}

# Phrases of the result files, and how the page puts them.
PHRASES = {
    "how far numbers lie apart": "largest difference of a figure",
    "left beside Torch-Pruning's": "left, relative to Torch-Pruning's",
    "made, by parts": "generated, by parts",
    "with the answer of all": "with the result of all pictures",
    "with the grid's answer": "with the grid's result",
    "penalty, of one without": "penalty, relative to one without",
    "runs that got through, of those broken": "interrupted runs that completed",
    "files left over": "temporary files left",
    "a signal that told how to go on": "a signal that said how to resume",
    "networks as of an unbroken run": "networks equal to those of an uninterrupted run",
    "networks as of one machine": "networks equal to those of one machine",
    "lines of ours that say so": "lines of ours that name it",
    "of those of one": "relative to one process",
    "of those there are": "relative to all of them",
    "trials done, of those wanted": "trials completed, of those requested",
    "Altered answers, training states and step files gave tracebacks or took memory at will": (
        "Altered predictions, training states and step files gave tracebacks or used any amount "
        "of memory"
    ),
    "all that saw it is done anew, and that is told": "the steps that read it are repeated",
    "nothing counts as zero, and that is told": "nothing counts as zero",
    "hold nothing, so that whole batches have no box": "contain no object, so batches have no box",
    "What a step wrote down is cut off: the step is done anew": (
        "The record of a step is truncated: the step is repeated"
    ),
    "is cut off in its middle": "is truncated",
    "that a step wrote is cut off": "of a step is truncated",
    "in the middle of a training": "during a training",
    "finds sane": "accepts",
    "would have been handed": "was passed",
    "In place of": "instead of",
    "read for ever": "read without end",
    "Names could command the terminal; what cannot be printed is written out": (
        "Names could control the terminal; what cannot be printed is escaped"
    ),
    "unpickled in full; none of that is so": "unpickled in full; all of this is refused",
    "seconds to make it and its figures": "seconds to write it and its charts",
}

# What Singh et al. (WACV 2019) publish: times fewer parameters, share of the MACs saved, and the
# recipe to compare with it, None where none has been run at that size.
PUBLISHED: tuple[tuple[str, float, float | None, str | None], ...] = (
    ("VGG16 on CIFAR-10", 125, 0.905, "vgg16_cifar10"),
    ("VGG16 on GTSRB", 200, 0.966, "vgg16_gtsrb"),
    ("SSD512 on GTSDB", 26, None, None),
)
# Largest number of pictures that compression may see, as a multiple of those of the dense training.
BILL = 1.5

# What a reader must know to interpret the figures.
NOTES = {
    "quickstart": (
        "The dense network is trained for minutes and has not converged; the slim one is trained "
        "further while it is compressed. Where slim is more accurate than dense, the longer "
        "training is the reason, not pruning.\n"
    ),
    "gtsdb_laptop": (
        "The backbone was first trained to classify cropped signs of the Recognition Benchmark "
        "(recipe `gtsdb_backbone`), then the detector on crops of 192 × 192 at native resolution. "
        "Both benchmarks have the same authors, and the backbone may have seen a sign that the "
        "test pictures show; this holds for dense and slim alike. The slim network has trained for "
        "1,250 steps more than the dense one. A wider network and larger crops were not tried.\n"
    ),
    "latency_cpu": (
        "SSD300 with 21 outputs per box, one picture at a time, two threads; random weights, "
        "because they do not affect the time of the network alone. *slim* has the widths of the "
        "paper's pruned-6det, *rounded* the same rounded to multiples of 16. Medians of runs taken "
        "in turn, each network in its own process; the network alone, from bytes to raw outputs. "
        "The last column includes decoding and NMS. Their time depends on the number of "
        "detections, and random weights give the largest possible number.\n\n![Latency of one "
        "picture](images/latency_cpu.svg)\n"
    ),
    "export_gtsdb": (
        "The slim network of the GTSDB run above. Files in single precision were compared with "
        "torch on training pictures; those in 8 bits were calibrated on validation pictures. The "
        "test split was read once for each.\n"
    ),
    "postprocessing": (
        "SSD300's 8,732 default boxes and 21 classes, batches of 8, against torchvision's "
        "`SSD.postprocess_detections` in one process, in turn. There are no trained weights here: "
        "the raw outputs are generated from a seed, in three kinds that the script describes. The "
        "target is for *trained*; the others are shown for comparison.\n"
    ),
    "evaluation_speed": (
        "5,000 pictures with 200 generated detections each, of 20 classes: against pycocotools, "
        "and for VOC against a plain loop over classes and pictures, which is in the script.\n"
    ),
    "without_training_quickstart": (
        "The dense network of the quick start, cut to a share of its MACs and not trained again; "
        "the reconstruction and the criterion of that name look at 256 training pictures without "
        "labels. One seed. `+reconstruct` is our reconstruction after a published criterion; the "
        "other rows have means folded and norms re-estimated, except for `plain`.\n"
    ),
    "removal_speed": (
        "From a dense network to one with half the channels by L1, against Torch-Pruning. About "
        "half of our time is spent in `torch.export`, which reads the graph of any network. On "
        "ResNet-50 the total is slower than Torch-Pruning. The verification of the removal, which "
        "Torch-Pruning does not have, is not counted.\n"
    ),
    "networks": (
        "Definitions of torchvision, timm, segmentation_models_pytorch and ultralytics with random "
        "weights, each in its own process. Half of the channels of every group that can be pruned "
        "are removed at random, the slim network is verified on random inputs, and a fresh "
        "instance is shrunk to its file, whose outputs must be the same. *Reach* is the share of "
        "the parameters that are gone if those groups lose everything. Seconds are processor "
        "times; the first, in which a process loads torch's tracer, is not counted. Up to nine "
        "other programs shared the two processors, which lengthens them. The two lines on the "
        "terminal are a warning of torch about RAFT's instance norms. The file has "
        "every network with the reasons for what stays whole. The two YOLO detectors are fresh "
        "from their definitions; `secateur.compress` trains them for a few steps on pictures of "
        "noise, so the table says nothing about their accuracy.\n"
    ),
    "threshold_search": (
        "Searches on accuracies generated from a seed (*steady*, *wavy*, *jagged*) and on a small "
        "*trained* detector with 12 validation pictures, against a grid that tries every step of "
        "the resolution. With so few pictures, accuracy rises and falls from one threshold to the "
        "next; the search then meets its condition, but may end below the grid's last threshold "
        "that meets it.\n\nThe table compares searches as in a run, which evaluate parts of "
        "validation where these are enough, with searches that evaluate all pictures in every "
        "trial.\n"
    ),
    "data_speed": (
        "SSD's augmentation, from JPEG files to batches, against the same steps built from "
        "torchvision's own transforms.\n"
    ),
    "latency_quickstart": (
        "One picture of the drawn test set at a time. In so small a network the overhead of a call "
        "dominates, so latency falls less than MACs.\n"
    ),
    "compare_quickstart": (
        COMPARED
        + "The dense network is trained for minutes, so what is retrained longer can be more "
        "accurate. Ours is first except at 15 %, where `layer_threshold`, which is ours with a "
        "threshold for each layer, is ahead by no more than the error. No method published by "
        "others is within a point of ours at any budget. A target is met by first place at the two "
        "smallest budgets, and elsewhere by at most one standard error behind it.\n\n![Accuracy by "
        "MACs kept](images/compare_quickstart.svg)\n"
    ),
    "ablation_quickstart": COMPARED
    + "\n![Accuracy by MACs kept](images/ablation_quickstart.svg)\n",
    "compare_gtsrb": (
        COMPARED
        + "The classifier of the laptop's run, on a shorter schedule, which is in the file. At "
        "half of the MACs, Taylor's criterion is ahead of ours by 0.28 points (error 0.21). At 15 "
        "% ours is first by 0.12. At 30 and 7 % `layer_threshold`, ours with a threshold for each "
        "layer, is ahead by 0.12 and 0.02, well within the error: one threshold for all layers or "
        "one for each makes no difference here. The distribution of 700 steps, 100 for sparsity "
        "and 600 for retraining, was chosen by validation for ours. The strength of `norm_scale` "
        "was chosen by validation of one seed at 15 %; with three times that strength, the next "
        "one tried, it has 93.2 there, as much as ours. That, and the results of the others with "
        "200 and 500 steps, are in the file as `tried`. The penalty of `group_norm` was chosen on "
        "the quick start. The five methods without a penalty ran earlier on another GPU (NVIDIA "
        "H100), from dense networks with identical accuracy.\n\n![Accuracy by MACs "
        "kept](images/compare_gtsrb.svg)\n"
    ),
    "ablation_gtsrb": (
        COMPARED
        + "The same classifier and schedule. The largest effect is that of a high learning rate at "
        "the start of retraining. Then follow, at 7 %, cutting layers by their loss instead of by "
        "the same share, the penalty, one phase instead of four, and balance. The effects of "
        "recalibration (folded means, re-estimated norms) and of the single threshold are within "
        "the error, and distillation reduces accuracy.\n\n![Accuracy by MACs "
        "kept](images/ablation_gtsrb.svg)\n"
    ),
    "training_speed_cuda": (
        "Pictures of noise and random weights. Passes are recorded and replayed. VGG16 at 32 × 32 "
        "includes data and augmentation; SSD300 runs on batches of 32 that are on the GPU. Channel "
        "counts that are no multiples of 16 (*slim*) cost more there than they save; *rounded* has "
        "multiples.\n"
    ),
    "training_speed_cpu": (
        "Pictures of noise and random weights. *Plain* is the network with torchvision's own loss "
        "and transform, and with weights in the default memory format; ours uses channels last. "
        "The gain or loss depends on network and processor, and bf16 is faster only on processors "
        "with matrix units for it. The rest of a step is convolutions (`convolution_backward`, "
        "`mkldnn_convolution`): it cannot be faster than they are. The rates in the first table "
        "and in the last were measured minutes apart.\n"
    ),
    "growth": (
        "A tiny detector on pictures of noise, one factor doubled at a time; the steps of the "
        "whole pipeline except the report, one thread. For layers: graph, selection, removal and "
        "verification of a chain of convolutions. The broken lines are linear. About ten seconds "
        "of a run are constant, so the exponents are of the whole run: up to these sizes it grows "
        "no faster than linearly, and its growing part may grow faster than they "
        "say.\n\n![Growth](images/growth.svg)\n"
    ),
    "torture": (
        "The real command on a tiny recipe, killed at random moments until it completes; then the "
        "summary and the networks must equal those of an uninterrupted run, bit for bit. The table "
        "shows the other faults, with the messages as they were on that day.\n"
    ),
    "fuzz": (
        "Cases by a coverage-guided fuzzer and by Hypothesis. A reader fails if it ends in another "
        "error than its own one-line refusal, takes more than 2 s, or touches a file outside its "
        "folder.\n"
    ),
    "memory": (
        "Resident memory, including child processes. Training is constant. An evaluation keeps "
        "every detection until all are counted, some 3 kB per picture, and that is its growth.\n"
    ),
    "sweep_quickstart": (
        "The Pareto front: networks that no other of the sweep beats in accuracy on validation, "
        "parameters and MACs together. Trials use validation; test was read once, for these. The "
        "first trial, 0, is the recipe with `keep_params: 0.062` and `keep_macs: 0.3`, set by "
        "hand; the others were searched. The dense network is not that of the first table, but one "
        "of another day.\n\n![Trials](images/sweep_quickstart.svg)\n"
    ),
    "sweep_postgres": (
        "A tiny recipe, two processes with folders of their own on one PostgreSQL; one of them is "
        "killed half-way. The script explains the targets.\n"
    ),
    "several_processes": (
        "Tiny recipes on the CPU, in one process, in two, and in two network namespaces that stand "
        "for two machines. One process was killed in the middle of a training. Metrics are means "
        "of three seeds on eight test pictures, so the bound of noise, two standard errors, is "
        "wide.\n"
    ),
    "vgg16_gtsrb": (
        "Full-size VGG16 in its CIFAR form, trained from random weights on one GPU that other work "
        "shared. The slim network has trained for 12,500 steps more than the dense one. The budget "
        "of parameters was the binding one, and MACs fell further than required.\n"
    ),
    "vgg16_cifar10": (
        "Full-size VGG16 in its CIFAR form, trained from random weights on one GPU that other work "
        "shared. The pictures had been recompressed as JPEG, and the dense network is below the "
        "accuracy published for the originals. At a 125th of the parameters, the slim network is "
        "four and a half points less accurate.\n"
    ),
    "report_quickstart": "One phase, 19 layers, 12 classes.\n",
    "report_gtsdb_laptop": "One phase, 17 layers, 4 classes, photographs of 1280 × 736.\n",
    "vgg_gtsrb_laptop": (
        "A narrow VGG16 in its CIFAR form, trained from random weights on whole pictures resized "
        "to 32 × 32. The dense network trains for 4,200 steps, the slim one for 6,600 more, which "
        "is why it is more accurate: the run shows that a network of this size is possible, not "
        "that pruning adds accuracy. Strength, budget and lengths were chosen on the validation "
        "split. The dense training shared its machine with other work, so its minutes mean "
        "little.\n"
    ),
}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the table of the README, one row per run."""
    lines = [
        "| run | parameters | MACs | bytes | accuracy on test |",
        "|---|---|---|---|---|",
    ]
    for name, result in results.items():
        dense, slim, metric = result["dense"], result["slim"], result["metric"]
        sizes = [
            f"{dense[key] / unit:.{digits}f} → {slim[key] / unit:.{digits}f} {word} "
            f"({dense[key] / slim[key]:.1f}×)"
            for key, unit, digits, word in (
                ("params", 1e6, 3, "M"),
                ("macs", 1e9, 3, "G"),
                ("bytes", 1e6, 2, "MB"),
            )
        ]
        accuracy = f"{metric} {dense[metric]:.1f} → {slim[metric]:.1f}"
        lines.append(f"| {' | '.join([TITLES[name], *sizes, accuracy])} |")
    return "\n".join(lines) + "\n"


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return docs/results.md: every metric, every target, and where the figures come from."""
    parts = [
        "# Results\n\n`docs/make_results_page.py` reads every figure in a table from a file in "
        "`benchmarks/results/`. The notes above the tables are written by hand, from the same "
        "files.\n"
    ]
    for name, result in results.items():
        dense, slim = result["dense"], result["slim"]
        machine, versions = result["provenance"]["machine"], result["provenance"]["versions"]
        threads = machine["threads"]
        device = machine["accelerator"] or (
            f"{machine['processor']}, {threads} thread{'s' if threads != 1 else ''}"
        )
        rows = [
            f"| {key} | {_figure(dense[key])} | {_figure(slim[key])} |"
            for key in dense
            if isinstance(dense[key], int | float)
        ]
        filters = [
            f"| {layer} | {before} | {slim['widths'][layer]} |"
            for layer, before in dense["widths"].items()
        ]
        seconds = sum(result["seconds"].values())
        fresh = ""
        if "fresh" in result:
            drawn = result["fresh"]
            fresh = (
                f"On {drawn['pictures']:,} pictures drawn from seed {drawn['seed']}, on which no "
                "setting was chosen:\n\n| | dense | slim |\n|---|---|---|\n"
                + "".join(
                    f"| {key} | {_figure(value)} | {_figure(drawn['slim'][key])} |\n"
                    for key, value in drawn["dense"].items()
                )
                + "\n"
            )
        parts.append(
            f"\n## {TITLES[name]}\n\n"
            f"Measured on the {result['split']} split, seed {result['seed']}, "
            f"{result['provenance']['date'][:10]}; the steps took {seconds / 60:.0f} minutes "
            f"on {device}; "
            f"torch {versions['torch']}, torchvision {versions['torchvision']}, "
            f"Python {versions['python']}.\n\n{NOTES[name]}\n"
            "| | dense | slim |\n|---|---|---|\n"
            + "\n".join(rows)
            + "\n\n"
            + fresh
            + _checks(result)
            + "\n| filters of | dense | slim |\n|---|---|---|\n"
            + "\n".join(filters)
            + "\n"
        )
    parts.append("\n" + bill_table(results) + "\n" + published_table(results))
    for name, title in MEASURED.items():
        if (RESULTS / f"{name}.json").is_file():
            result = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
            made = result.get("made_by") or result["provenance"]
            versions = ", ".join(
                f"{package} {version}"
                for package, version in made["versions"].items()
                if package in ("python", "torch", "torchvision", "onnxruntime", "openvino", "nncf")
            )
            machine = made["machine"]["accelerator"] or made["machine"]["processor"]
            parts.append(
                f"\n## {title}\n\n{made['date'][:10]}, {machine}; {versions}."
                f"\n\n{NOTES[name]}\n{TABLES[name](result)}\n{_checks(result)}"
            )
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))


def bill_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the cost of compression, relative to the dense training."""
    lines = [
        "## The cost of compression\n",
        "Pictures seen and seconds of all phases, as multiples of those of the dense training. "
        "The seconds include the threshold searches, but not the final evaluation. The "
        "classifiers have short dense trainings and long retraining, for the smallest size, and "
        "miss the target. If other work ran during a training, as during the dense one of "
        "`vgg_gtsrb_laptop`, its time means little; the number of pictures is not affected.\n",
        "| recipe | times the pictures | at most | met | times the seconds |",
        "|---|---|---|---|---|",
    ]
    for name, result in results.items():
        pictures, seconds = _bill(result)
        met = "yes" if pictures <= BILL else "**no**"
        lines.append(f"| `{name}` | {pictures:.2f} | {BILL} | {met} | {seconds:.2f} |")
    return "\n".join(lines) + "\n"


def published_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the paper's headline results, and ours at the same size."""
    lines = [
        "## Compared with the paper\n",
        "The results of Singh et al., WACV 2019, who report no loss of accuracy in any of the "
        "three, and ours. SSD512 on GTSDB has not been trained here, for lack of GPU time; "
        "`ssd300_gtsdb` is a recipe for SSD300.\n",
        "| network and pictures | | times fewer parameters | MACs saved | dense | slim |",
        "|---|---|---|---|---|---|",
    ]
    for what, fewer, saved, name in PUBLISHED:
        theirs = f"{saved:.1%}" if saved else ""
        lines.append(f"| {what} | published | {fewer:g} | {theirs} | | no loss |")
        result = results.get(name) if name else None
        if result is None:
            lines.append("| | here | not run yet | | | |")
            continue
        dense, slim, metric = result["dense"], result["slim"], result["metric"]
        lines.append(
            f"| | here | {dense['params'] / slim['params']:.1f} | "
            f"{1 - slim['macs'] / dense['macs']:.1%} | {dense[metric]:.2f} | {slim[metric]:.2f} |"
        )
    return "\n".join(lines) + "\n"


def latency_table(result: dict[str, Any]) -> str:
    """Latency of the network alone, ratios, and latency with NMS."""
    lines = [
        "| network | runtime | ms (quartiles) | times faster | times fewer MACs | with NMS, ms |",
        "|---|---|---|---|---|---|",
    ]
    for each in result["measurements"]:
        alone, whole = each["network"], each["whole"]
        name = Path(each["model"]).name.removesuffix(".safetensors")
        lines.append(
            f"| {name} | {each['runtime']} | {alone['median']:.1f} ({alone['lower']:.1f}–"
            f"{alone['upper']:.1f}) | {each['network_times_faster']:.2f} | "
            f"{each['times_fewer_macs']:.2f} | {whole['median']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def export_table(result: dict[str, Any]) -> str:
    """Bytes and accuracy of each file."""
    metric = next(e["metric"] for e in result["exports"].values() if e["metric"])
    lines = [
        f"| file | bytes | objects that agree | {metric} on validation | on test |",
        "|---|---|---|---|---|",
        f"| slim.safetensors | {result['bytes']:,} | | "
        f"{next(e['before'] for e in result['exports'].values() if e['before']):.2f} | "
        f"{result['test'][metric]:.2f} |",
    ]
    for name, each in result["exports"].items():
        agreement, test = each["agreement"], each.get("test")
        agree = f"{agreement['matched']:,} of {agreement['objects']:,}" if agreement else ""
        after = f"{each['after']:.2f}" if each["after"] is not None else ""
        on_test = f"{test[metric]:.2f}" if test else ""
        lines.append(f"| {name} | {each['bytes']:,} | {agree} | {after} | {on_test} |")
    return "\n".join(lines) + "\n"


def comparison_table(result: dict[str, Any]) -> str:
    """Accuracy of every method at every budget, and what the methods are."""
    budgets = list(dict.fromkeys(mean["keep_macs"] for mean in result["means"]))
    means = {(mean["variant"], mean["keep_macs"]): mean for mean in result["means"]}
    dense = {row["seed"]: row["dense"] for row in result["rows"]}
    best = {
        keep: max((m for m in result["means"] if m["keep_macs"] == keep), key=lambda m: m["test"])
        for keep in budgets
    }
    lines = [
        f"| {result['metric']} at | {' | '.join(f'{keep:.0%} of MACs' for keep in budgets)} | |",
        f"|---|{'---|' * len(budgets)}---|",
        f"| dense | {' | '.join([f'{sum(dense.values()) / len(dense):.1f}'] * len(budgets))} | |",
    ]
    for variant in result["about"]:
        cells, name = [], RENAMED.get(variant, variant)
        for keep in budgets:
            mean, first = means[variant, keep], best[keep]
            text = f"{mean['test']:.1f} ± {mean['test_error']:.1f}"
            near = first["test"] - mean["test"] <= first["test_error"]
            cells.append(f"**{text}**" if mean is first else f"*{text}*" if near else text)
        lines.append(f"| `{name}` | {' | '.join(cells)} | {find_method(name).about} |")
    return "\n".join(lines) + "\n"


def sweep_table(result: dict[str, Any]) -> str:
    """The Pareto front of a sweep, after the dense network."""
    metric, dense = result["metric"], result["dense"]
    lines = [
        f"| trial | parameters | MACs | {metric} on validation | on test |",
        "|---|---|---|---|---|",
    ]
    for name, each in [("dense", dense), *((f"{p['trial']}", p) for p in result["front"])]:
        params, macs = (
            f"{each[key]:,} ({dense[key] / each[key]:.1f}×)" for key in ("params", "macs")
        )
        test = each["test"][metric]
        lines.append(f"| {name} | {params} | {macs} | {each['validation']:.1f} | {test:.1f} |")
    states = [row["state"] for row in result["trials"]]
    complete, given_up = states.count("complete"), states.count("given up")
    other = len(states) - complete - given_up
    return (
        "\n".join(lines) + f"\n\n{complete} trials were completed, {given_up} were stopped early"
        f"{f', and {other} had budgets that cannot be met' if other else ''}.\n"
    )


def training_table(result: dict[str, Any]) -> str:
    """Pictures per second, and what a penalty adds to a step."""
    rows = [("cached pictures of 32 × 32, augmented", result["feed"]["pictures_per_second"], "")]
    for each in result["vgg16"]:
        more = _of_rate(each.get("share_of_matrix_rate"))
        rows.append(
            (f"VGG16 trained, batch {each['batch_size']}", each["pictures_per_second"], more)
        )
    ssd = result["ssd300"]
    for kind, word in (("training", "trained"), ("inference", "run")):
        for name, value in ssd[kind].items():
            share = ssd.get("share_of_matrix_rate", {}).get(name) if kind == "training" else None
            rows.append(
                (f"SSD300 {name} {word}, batch {ssd['batch_size']}", value, _of_rate(share))
            )
    lines = ["| measured | pictures per second | |", "|---|---|---|"]
    lines += [f"| {what} | {_rate(value)} | {more} |" for what, value, more in rows]
    lines += ["", "| penalty | time of a step of SSD300, relative to one without |", "|---|---|"]
    lines += [f"| {n} | {value:.3f} |" for n, value in result["penalty"]["times_as_long"].items()]
    if shares := result.get("shares_of_ssd300"):
        lines += ["", "| operator in a step of SSD300 | share of its time |", "|---|---|"]
        lines += [f"| `{name}` | {share:.1%} |" for name, share in shares.items()]
    if plain := result.get("plain"):
        lines += ["", "| pictures per second in training | plain torchvision | ours | in bf16 |"]
        lines.append("|---|---|---|---|")
        for name, each in plain.items():
            rates = [
                _rate(each["pictures_per_second"][side]) for side in ("plain", "ours", "ours_bf16")
            ]
            lines.append(f"| {' | '.join([name, *rates])} |")
    return "\n".join(lines) + "\n"


def search_table(result: dict[str, Any]) -> str:
    """Share of the pictures that searches by parts evaluate."""
    lines = [
        "| pictures | share of the pictures evaluated | times faster |",
        "|---|---|---|",
    ]
    for kind, found in result["growing"].items():
        faster = f"{found['times_faster']:.1f}" if "times_faster" in found else ""
        lines.append(
            f"| {found['pictures']:,}, {kind} | {found['share_of_pictures']:.0%} | {faster} |"
        )
    return "\n".join(lines) + "\n"


def without_training_table(result: dict[str, Any]) -> str:
    """The metric of each way to cut at each share of the MACs, in the mean over the seeds."""
    rows = result["rows"]
    keeps = sorted({row["keep"] for row in rows if row["way"] != "dense"}, reverse=True)

    def average(way: str, keep: float) -> float:
        return fmean(row["metric"] for row in rows if (row["way"], row["keep"]) == (way, keep))

    dense = f"{average('dense', 1.0):.1f}"
    lines = [
        f"| {result['metric']} on test at | {' | '.join(f'{keep:.0%}' for keep in keeps)} | |",
        "|---" * (len(keeps) + 2) + "|",
        f"| dense | {' | '.join([dense] * len(keeps))} | not cut |",
    ]
    for way, about in result["ways"].items():
        cells = " | ".join(f"{average(way, keep):.1f}" for keep in keeps)
        lines.append(f"| `{way}` | {cells} | {about} |")
    return "\n".join(lines) + "\n"


def removal_table(result: dict[str, Any]) -> str:
    """Seconds of each network, ours and the baseline's."""
    lines = [
        "| network | ours, s | of it `torch.export` | Torch-Pruning, s | times faster |",
        "|---|---|---|---|---|",
    ]
    for name, each in result["networks"].items():
        seconds, parts = each["seconds"], each["parts_s"]["secateur"]
        lines.append(
            f"| {name} | {seconds['secateur']:.2f} | {parts['torch.export']:.2f} | "
            f"{seconds['torch_pruning']:.2f} | {each['times_faster']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def networks_table(result: dict[str, Any]) -> str:
    """Outcome by package, the networks that are not verified, and the compressed detectors."""
    rows = result["networks"]
    lines = [
        "| package | networks | verified | nothing to prune | refused | failed | reach, median | "
        "trace, s | removal, s | verification, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for package, version in result["packages"].items():
        own = [row for row in rows if row["network"].partition("/")[0] == package]
        verified = [row for row in own if row["status"] == "verified"]
        counts = [
            str(sum(row["status"] == status for row in own))
            for status in ("verified", "nothing", "refused", "failed")
        ]
        steps = [
            f"{median(row['seconds'][step] for row in verified):.2f}"
            for step in ("trace", "removal", "verification")
        ]
        reach = f"{median(row['reach'] for row in verified):.1%}"
        lines.append(
            f"| {package} {version} | {len(own)} | {' | '.join([*counts, reach, *steps])} |"
        )
    lines += ["", "| network | outcome | reason |", "|---|---|---|"]
    for row in rows:
        if row["status"] != "verified":
            reason = row.get("message") or row["whole"]
            lines.append(f"| {row['network']} | {row['status']} | {reason.replace('|', '/')} |")
    lines += [
        "",
        "| compressed | parameters | MACs | difference when loaded | in ONNX Runtime |",
        "|---|---|---|---|---|",
    ]
    for each in result["compressed"]:
        if each["status"] != "verified":
            lines.append(f"| {each['network']} | {each['message'].replace('|', '/')} | | | |")
            continue
        dense, slim = each["dense"], each["slim"]
        lines.append(
            f"| {each['network']} | {dense['params']:,} → {slim['params']:,} | "
            f"{dense['macs']:,} → {slim['macs']:,} | {each['loaded_difference']:.1g} | "
            f"{each['onnx_difference']:.1g} |"
        )
    return "\n".join(lines) + "\n"


def torture_table(result: dict[str, Any]) -> str:
    """Each fault that was tried, and its outcome."""
    lines = ["| fault | exit code | message |", "|---|---|---|"]
    for fault in result["faults"]:
        said = fault["said"].replace("|", "\\|")
        lines.append(f"| {_reworded(fault['fault'])} | {fault['exit_code']} | {said} |")
    return "\n".join(lines) + "\n"


def fuzz_table(result: dict[str, Any]) -> str:
    """Cases of each reader, and what was found and fixed."""
    lines = ["| reader | cases | read | refused | slowest, s |", "|---|---|---|---|---|"]
    for name, each in result["readers"].items():
        cases = each["read"] + each["refused"]
        lines.append(
            f"| {name} | {cases:,} | {each['read']:,} | {each['refused']:,} | "
            f"{each['slowest_seconds']:g} |"
        )
    mended = "".join(f"- {_reworded(line)}\n" for line in result["found_and_mended"])
    return "\n".join(lines) + f"\n\nFound by fuzzing, and fixed:\n\n{mended}"


def memory_table(result: dict[str, Any]) -> str:
    """Memory by tenths of the work."""
    lines = ["| | MiB by tenths | growth |", "|---|---|---|"]
    for name, count in (("training", "steps"), ("evaluation", "pictures")):
        each = result[name]
        tenths = ", ".join(f"{mib:.0f}" for mib in each["mib_by_tenths"])
        lines.append(
            f"| {name}, {each[count]:,} {count} | {tenths} | {each['growth_percent']:.2f} % |"
        )
    return "\n".join(lines) + "\n"


def growth_table(result: dict[str, Any]) -> str:
    """Seconds and memory at every point."""
    lines = ["| factor | | seconds | MiB at most | exponent |", "|---|---|---|---|---|"]
    for axis, found in result["axes"].items():
        for number, point in enumerate(found["points"]):
            mib = "" if point["mib"] is None else f"{point['mib']:,.0f}"
            exponent = "" if number else f"{found['exponent']:.2f}"
            lines.append(
                f"| {axis} | {point[axis]:,} | {point['seconds']:.1f} | {mib} | {exponent} |"
            )
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "latency_cpu": latency_table,
    "export_gtsdb": export_table,
    "postprocessing": lambda _result: "",
    "evaluation_speed": lambda _result: "",
    "without_training_quickstart": without_training_table,
    "removal_speed": removal_table,
    "networks": networks_table,
    "threshold_search": search_table,
    "data_speed": lambda _result: "",
    "latency_quickstart": latency_table,
    "compare_quickstart": comparison_table,
    "ablation_quickstart": comparison_table,
    "compare_gtsrb": comparison_table,
    "ablation_gtsrb": comparison_table,
    "training_speed_cuda": training_table,
    "training_speed_cpu": training_table,
    "torture": torture_table,
    "fuzz": fuzz_table,
    "memory": memory_table,
    "growth": growth_table,
    "sweep_quickstart": sweep_table,
    "sweep_postgres": lambda _result: "",
    "several_processes": lambda _result: "",
    "report_quickstart": lambda result: f"{result['figures']} charts.\n",
    "report_gtsdb_laptop": lambda result: f"{result['figures']} charts.\n",
}


def readme(text: str, results: dict[str, dict[str, Any]]) -> str:
    """Put the table into the text of README.md."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + "\n" + table(results) + "\n" + END + after


def read_results() -> dict[str, dict[str, Any]]:
    """Read the existing result files, in the order of ``TITLES``."""
    return {
        name: json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in TITLES
        if (RESULTS / f"{name}.json").is_file()
    }


def _bill(result: dict[str, Any]) -> tuple[float, float]:
    """Pictures and seconds of compression, relative to the dense training."""
    train, compress = result["recipe"]["train"], result["recipe"]["compress"]
    pictures = sum(
        settings["steps"] * settings["batch_size"]
        for phase in compress["phases"]
        for name in ("sparsify", "retrain")
        for settings in [compress[name] | phase[name]]
    )
    seconds = result["seconds"]
    longer = sum(value for name, value in seconds.items() if name.startswith("phase"))
    return pictures / (train["steps"] * train["batch_size"]), longer / seconds["dense"]


def _checks(result: dict[str, Any]) -> str:
    """Each target, the measured value, and whether it is met; some results have none."""
    if "checks" not in result:
        return ""
    lines = ["| checked | target | measured | met |", "|---|---|---|---|"]
    for check in result["checks"]:
        met = "yes" if check["met"] else "**no**"
        name, target, value = _reworded(check["name"]), check["target"], check["value"]
        lines.append(f"| {name} | {_figure(target)} | {_figure(value)} | {met} |")
    return "\n".join(lines) + "\n"


def _reworded(text: str) -> str:
    for phrase, better in PHRASES.items():
        text = text.replace(phrase, better)
    return text


def _of_rate(share: float | None) -> str:
    return f"{share:.1%} of the rate of large matrix products" if share else ""


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _figure(value: float) -> str:
    if isinstance(value, int) or value == round(value):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.1e}"


if __name__ == "__main__":
    found = read_results()
    (ROOT / "docs" / "results.md").write_text(page(found), "utf-8")
    target = ROOT / "README.md"
    target.write_text(readme(target.read_text("utf-8"), found), "utf-8")
