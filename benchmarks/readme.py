"""Puts the measured numbers into the README, from the result files and nowhere else.

    python -m benchmarks.readme           rewrite the blocks between the markers
    python -m benchmarks.readme --check   exit with 1 where the README says anything else

A block stands behind a marker line, `<!-- quickstart -->`, and ends at the next empty line behind its own end marker.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.recipe import differences, settings

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"


def result(name: str) -> dict[str, Any]:
    """A committed result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def quickstart() -> str:
    """What `make train` printed, as it was kept beside its summary."""
    summary = result("quickstart")
    screen = (RESULTS / "quickstart.txt").read_text().rstrip()
    hardware = f"{summary['hardware']['processor']}, {summary['hardware']['cores']} cores, {summary['precision']}"
    return f"`make train`, {hardware}, seed {summary['seed']}:\n\n```text\n{screen}\n```"


def _augmentation() -> list[str]:
    """Images a second of both engines, on one core and on all."""
    one, every = result("pipeline"), result("pipeline_all_cores")
    about = f"{one['hardware']['processor']}, torch {one['versions']['torch']}, {one['date']}"
    lines = [
        f"Images per second, augmented and normalised ({about}; `python -m benchmarks.pipeline`): by albumentations, image by"
        f" image (on {every['cores']} cores, in as many workers), and as batches of tensors:",
        "",
        f"| policy | one core | batches | ratio | {every['cores']} cores | batches | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in one["images_per_second"]:
        rows = (found["images_per_second"][name] for found in (one, every))
        cells = [
            cell
            for row in rows
            for cell in (
                f"{row['per_image']:,.0f}",
                *((f"{row['batched']:,.0f}", f"{row['ratio']:.1f}") if "batched" in row else ("-", "-")),
            )
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _suite() -> str:
    """How long the tests take."""
    suite = result("suite")
    whole, fast = suite["whole"], suite["fast"]
    passed = [f"{row['tests'] - row['skipped']:,}" for row in (whole, fast)]
    return (
        f"`make test` ran {passed[0]} tests in {whole['seconds']:.0f} s, nothing compiled or decoded before, and `make test-fast`"
        f" {passed[1]} in {fast['seconds']:.0f} s ({suite['hardware']['processor']}, {suite['hardware']['cores']} cores;"
        " `python -m benchmarks.suite`)."
    )


def benchmarks() -> str:
    """The cost of the loop and of augmentation, and of waiting."""
    tax, lines = result("lightning_tax"), _augmentation()
    lines += ["", "Our loop, times the time of a bare PyTorch loop doing the same work, the two taking turns every few steps"]
    lines[-1] += f" (`{tax['model']}`, batch {tax['batch']}; `python -m benchmarks.lightning_tax`):"
    lines += ["", "| `trainer` | threads | median | quartiles | pairs |", "| --- | ---: | ---: | ---: | ---: |"]
    for found in (result("lightning_tax_one_thread"), tax, result("lightning_tax_fast")):
        low, high = found["quartiles"]
        lines.append(
            f"| `{found['trainer']}` | {found['threads']} | {found['ratio']:.3f} | {low:.2f}, {high:.2f}"
            f" | {len(found['pairs'])} |"
        )
    waits = {name: statistics.median(taken) for name, taken in result("startup")["seconds"].items()}
    lines += [
        "",
        f"`--help` answers in {waits['--help']:.2f} s and `--cfg job` in {waits['--cfg job']:.2f} s, without torch. A run of one",
    ]
    lines[-1] += f" step takes {waits['one step']:.1f} s, of which importing torch and Lightning are {waits['import all']:.1f} s"
    lines[-1] += " (`python -m benchmarks.startup`)."
    one = result("predict_speed")
    taken, ratio = one["milliseconds"], one["ratio"]["Predictor"]
    lines += [
        "",
        f"One image through `Predictor` (`{one['model']}`, one thread, file to five classes) takes {taken['Predictor']:.1f} ms,",
    ]
    lines[-1] += f' {ratio:.2f} times the bare forward pass, and {taken["Predictor, onnx"]:.1f} ms with `runtime="onnx"`'
    lines[-1] += " (`python -m benchmarks.predict_speed`)."
    report = result("report_speed")
    lines += [
        "",
        f"A report of {report['recipes'] * report['seeds']:,} runs of {report['epochs']} epochs takes {report['seconds']:.1f} s"
        f" and {report['peak_bytes'] / 1e6:.0f} MB ({report['hardware']['processor']}; `python -m benchmarks.report_speed`).",
        "",
        _suite(),
    ]
    return "\n".join(lines)


def speed() -> str:
    """What trainer=fast gains on a CPU, what two minutes buy there, and what growth costs."""
    fast, run, grown = result("throughput_cpu"), result("speedrun_cpu"), result("growth")
    by_trainer: dict[str, list[float]] = {"auto": [], "fast": []}
    for row in fast["rows"]:
        by_trainer[row["trainer"]].append(row["images_per_second"])
    precisions = {row["trainer"]: row["measured"]["precision"] for row in fast["rows"]}
    ratios = [f / a for a, f in zip(by_trainer["auto"], by_trainer["fast"], strict=True)]
    where = (
        f"{fast['hardware']['processor']}, {fast['hardware']['cores']} cores, torch {fast['versions']['torch']}, {fast['date']}"
    )
    model, medians = fast["rows"][0]["model"], {name: statistics.median(found) for name, found in by_trainer.items()}
    lines = [
        f"On a CPU ({where}) `trainer=fast` trains `{model}`, batch {fast['batch']}, at {medians['fast']:,.0f} images/s in"
        f" {precisions['fast']}, {statistics.median(ratios):.2f} times `trainer=auto`'s {medians['auto']:,.0f} in"
        f" {precisions['auto']} (median of {len(ratios)} pairs,"
        f" {min(ratios):.2f} to {max(ratios):.2f}; `python -m benchmarks.throughput`).",
    ]
    lines += ["", *gpu_throughput()]
    seeds, test = run["seeds"], run["seeds"]["test/acc"]
    longer = statistics.median(pair["new"] / pair["old"] for pair in result("speedrun_cpu_pairs")["pairs"])
    before = result("speedrun_cpu_sgd")["seeds"]["train_seconds"]["mean"]
    lines += [
        "",
        f"`experiment=speedrun_cpu repeat={seeds['runs']}`: {100 * test['mean']:.2f}% test accuracy in the mean (deviation"
        f" {100 * test['std']:.2f}, lowest {100 * test['min']:.2f}) after {seeds['train_seconds']['mean']:.0f} s of training;"
        f" in turn, its epochs take {longer:.2f} times as long as those of the recipe before,"
        f" which took {before:.0f} s on a faster day.",
        "",
        "As work grows: seconds a unit at the largest size, over those at the smallest; 1 is linear"
        f" (`{grown['model']}`, {grown['hardware']['cores']} cores, `python -m benchmarks.growth`):",
        "",
        "| what grows | from | to | unit | seconds a unit, times |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for name, factor in grown["factors"].items():
        values = [row["value"] for row in factor["rows"]]
        lines.append(f"| {name} | {values[0]} | {values[-1]} | {factor['unit']} | {factor['unit_cost_ratio']:.2f} |")
    sweep, images = grown["factors"]["sweep"], grown["factors"]["images"]
    lines += [
        "",
        f"A job of a sweep costs {sweep['seconds_per_job']:.2f} s beyond its training. Ten times the images add"
        f" {images['set_growth_bytes'] / 1e6:.0f} MB of pixels, and the peak of memory rises by"
        f" {images['peak_growth_bytes'] / 1e6:.0f} MB.",
    ]
    return "\n".join(lines)


def gpu_throughput() -> list[str]:
    """Training on a GPU: one row a network, and the least time to an accuracy."""
    found = result("throughput_h200")
    about = f"{found['hardware']['gpu']}, torch {found['versions']['torch']}, {found['date']}"
    graphs = "steps as CUDA graphs" if all(row["measured"].get("graph") for row in found["rows"]) else "no CUDA graphs"
    lines = [
        f"On one {about}, batch {found['batch']}, `trainer=fast`, {graphs}:",
        "",
        "| network | images/s | step, ms | of what its arithmetic allows | compiling, s (cached) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        compiling = row["measured"]["compile_seconds"]
        lines.append(
            f"| `{row['model']}` | {row['images_per_second']:,.0f} | {row['step_milliseconds']:.1f} | {row['floor_fraction']:.0%}"
            f" | {compiling:.1f} |"
        )
    without = ", ".join(f"{row['images_per_second']:,.0f}" for row in result("throughput_h200_no_graphs")["rows"])
    lines += ["", f"With the same steps launched kernel by kernel: {without} images/s.", ""]
    lines.append(
        "| short run on one GPU | seeds | test accuracy, deviation, lowest | prepare, s | train, s | with checkpoints, s |"
    )
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    lines += [_short_run(name) for name in ("speedrun", "speedrun_14_epochs", "speedrun_resnet18")]
    epochs = [settings(f"experiment={name}")["trainer.max_epochs"] for name in ("speedrun", "speedrun_resnet18")]
    lines += [
        "",
        "Seconds are medians, compiling apart; those of training are of the steps, without what lay between epochs. These runs"
        " wrote a checkpoint after each epoch; the recipes now write one,"
        f" at the end, and have more epochs, {epochs[0]} and {epochs[1]}, which have not been measured.",
    ]
    return lines


def _short_run(name: str) -> str:
    run = result(name)
    seeds, test = run["seeds"], run["seeds"]["test/acc"]
    whole = all(job.get("trained_seconds") for job in run["jobs"])  # results of before know the epochs' steps alone
    prepare, train, all_of_it = (
        statistics.median(job[f"{phase}_seconds"] for job in run["jobs"])
        for phase in ("prepare", "trained" if whole else "train", "log")
    )
    options = dict(item.partition("=")[::2] for item in seeds["overrides"])
    experiment, epochs = options["experiment"], options["trainer.max_epochs"]
    other = differences(settings(*seeds["overrides"]), f"experiment={experiment}", f"trainer.max_epochs={epochs}")
    what = f"`{experiment}`, {epochs} epochs"
    if other:
        what += " and " + " ".join(f"`{name}={value}`" for name, value in other.items())
    return (
        f"| {what} | {seeds['runs']}"
        f" | {100 * test['mean']:.2f}%, {100 * test['std']:.2f}, {100 * test['min']:.2f}"
        f" | {prepare:.2f} | {train:.2f} | {all_of_it:.1f} |"
    )


BLOCKS = {"quickstart": quickstart, "benchmarks": benchmarks, "speed": speed}


def filled(text: str) -> str:
    """The README with its blocks as the result files have them."""
    for name, block in BLOCKS.items():
        old = re.compile(rf"<!-- {name} -->(?:.*?<!-- end {name} -->)?", re.DOTALL)
        new = f"<!-- {name} -->\n{block()}\n<!-- end {name} -->"
        text = old.sub(new.replace("\\", r"\\"), text, count=1)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    readme = REPOSITORY / "README.md"
    wanted = filled(readme.read_text())
    if parser.parse_args().check:
        sys.exit(wanted != readme.read_text())
    readme.write_text(wanted)


if __name__ == "__main__":
    main()
