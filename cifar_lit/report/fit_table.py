"""Over-fitting as a table: on the page for the first recipes, and as CSV for all."""

from collections.abc import Iterable
from html import escape

from cifar_lit.report.overfitting import EARLY, LOSS_RISE
from cifar_lit.report.subject import Subject
from cifar_lit.report.words import MISSING, brief, percent, plain, points, several
from cifar_lit.runs import GAP

COLUMNS = ("rank", "recipe", "verdict", "gap", "train/acc", "best_epoch", "epochs", "lost_since_best", "loss_rise", "advice")
_HEADS = (
    "#",
    "recipe",
    "verdict",
    "gap (points)",
    "best epoch",
    "lost since (points)",
    "validation loss, end over lowest",
    "advice",
)


def rows(subject: Subject) -> Iterable[list[object]]:
    """The rows of the CSV: fractions, and epochs counted from 1."""
    for entry in subject.board.entries:
        fit = subject.fits[entry.rank]
        numbers = (fit.gap, fit.train, fit.best_epoch, fit.epochs, fit.lost, fit.loss_rise)
        yield [entry.rank, entry.label, fit.verdict, *("" if number is None else number for number in numbers), fit.advice]


def html(subject: Subject) -> str:
    """The section of the page: how many over-fit, by which limits, and advice for each of the first recipes."""
    over = sum(fit.over for fit in subject.fits.values())
    words = (
        f"{several(over, 'recipe over-fits', 'recipes over-fit')}, of {len(subject.fits):,}. Over-fitting here: a train-test gap"
        f" above {100 * GAP:.0f} points, or a validation loss that ends more than {100 * LOSS_RISE:.0f}% above its lowest after a"
        f" best epoch in the first {100 * EARLY:.0f}% of training."
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEADS)
    body = "".join(_row(subject, place) for place in range(len(subject.first)))
    link = f"<span class='links'><a href='figures/{subject.name('overfitting')}.csv'>CSV</a></span>"
    return (
        f"<h3>Over-fitting</h3><p>{words} {link}</p><div class='scroll' tabindex='0' role='region' aria-label='Over-fitting'>"
        f"<table class='fits'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(subject: Subject, place: int) -> str:
    entry = subject.first[place]
    fit = subject.fits[entry.rank]
    epoch = f"{fit.best_epoch:.0f} of {fit.epochs:.0f}" if fit.best_epoch is not None and fit.epochs is not None else MISSING
    rise = MISSING if fit.loss_rise is None else f"{100 * fit.loss_rise:+.1f}%"
    cells = (fit.verdict, points(fit.gap), epoch, percent(fit.lost), rise, fit.advice)
    label = f'<th scope="row" title="{escape(entry.label)}">{escape(plain(brief(entry.label), 100))}</th>'
    inside = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr class='{fit.verdict.replace(' ', '-')}'><td>{entry.rank}</td>{label}{inside}</tr>"
