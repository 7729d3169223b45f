"""What each augmentation is worth: accuracy and train-test gap with it and without it."""

from cifar_lit.report.draw import Drawn
from cifar_lit.report.words import listed, percent
from cifar_lit.study import figures, words
from cifar_lit.study.block import Block
from cifar_lit.study.found import Strand

WHOLE = "all"
_WITHOUT = "without "


def reference(strand: Strand) -> str:
    """The policy that the others are compared with: all augmentations, or the best where those have no result."""
    return WHOLE if WHOLE in strand.scores.values else strand.scores.order[0]


def verdict(strand: Strand) -> list[str]:
    """Sentences."""
    block, gaps, whole = strand.scores, strand.block("gap"), reference(strand)
    said = [words.best(strand, "policy"), words.alike(strand, "policies")]
    if block.deviation is None or len(block.values) == 1:
        return said
    removed = [name for name in block.order if name.startswith(_WITHOUT) and whole == WHOLE]
    costs = [name for name in removed if block.gap(name, whole).told and block.gap(name, whole).mean < 0]
    gains = [name for name in removed if block.gap(name, whole).told and block.gap(name, whole).mean > 0]
    said += [_removing(block, whole, sorted(costs, key=lambda name: block.means[name]), "costs")]
    said += [_removing(block, whole, gains, "gains")]
    unsure = [name.removeprefix(_WITHOUT) for name in removed if name not in (*costs, *gains)]
    if unsure:
        said.append(f"What removing {listed(unsure, 6)} does to accuracy, these seeds cannot tell from nothing.")
    bare = "none"
    if bare in block.values and bare != whole:
        said.append(_bare(block, gaps, whole, bare))
    if whole in gaps.values:
        told = [name for name in gaps.order if name != whole and gaps.gap(name, whole).told]
        wider = [f"{name} ({words.interval(gaps.gap(name, whole))})" for name in told if gaps.gap(name, whole).mean > 0]
        narrower = [f"{name} ({words.interval(gaps.gap(name, whole))})" for name in told if gaps.gap(name, whole).mean < 0]
        if wider:
            said.append(f"The train-test gap is wider than with {whole}, in points: {listed(wider, 6)}.")
        if narrower:
            said.append(f"It is narrower: {listed(narrower, 6)}.")
    return [sentence for sentence in said if sentence]


def _removing(block: Block, whole: str, names: list[str], verb: str) -> str:
    if not names:
        return ""
    parts = [f"{name.removeprefix(_WITHOUT)} {verb} {words.size(block.gap(name, whole).mean)} points" for name in names]
    return f"Removing {listed(parts, 6)}, compared with {whole}."


def _bare(block: Block, gaps: Block, whole: str, bare: str) -> str:
    gap = block.gap(bare, whole)
    if not gap.told:
        text = f"No augmentation at all cannot be told from {whole} in accuracy"
    else:
        text = f"No augmentation at all is {words.size(gap.mean)} points {'better' if gap.mean > 0 else 'worse'} than {whole}"
    if bare in gaps.values and whole in gaps.values:
        text += f"; the gap is {percent(gaps.means[bare])} points without any, {percent(gaps.means[whole])} with {whole}"
    if gap.told and gap.mean > 0:
        text += ". Augmentation makes images harder to learn: in a run as short as this, that is what is seen of it"
    return text + "."


def drawn(strand: Strand) -> list[Drawn | None]:
    """What each policy changes in accuracy and in the gap, and the learning curves."""
    whole, seen = reference(strand), words.measured(strand)
    caption = (
        f"Compared with {whole}: means over seeds, and intervals that hold together with a chance of 95%. Filled: told apart."
    )
    if len(strand.scores.values) < 2:
        return []
    found: list[Drawn | None] = [
        figures.differences("accuracy", f"Change in {seen}", f"change in {seen} (points)", strand.scores, whole, caption),
    ]
    gaps = strand.block("gap")
    if whole in gaps.values:
        title = "Change in the train-test gap"
        caption += " To the right: knows its training images better."
        found.append(figures.differences("gap", title, "change in the train-test gap (points)", gaps, whole, caption))
    return found
