import pytest
from figure_checks import keeping
from report.fake_runs import make_run, sweep

from cifar_lit.report import write


@pytest.fixture(scope="session")
def kept():
    """The figures of `written` by name, as they were drawn: what is in an SVG can no longer be told apart."""
    return {}


@pytest.fixture(scope="session")
def written(tmp_path_factory, kept):
    """Runs of every kind, and the report on them: (folder of runs, folder of the report, contents)."""
    root = tmp_path_factory.mktemp("runs")
    sweep(root / "sweep", epochs=6)
    for seed in (1, 2):
        make_run(root / f"watched-a{seed}", seed=seed, watched=True, accuracy=0.7, over=0.12)
        make_run(root / f"watched-b{seed}", seed=seed, watched=True, accuracy=0.6, settings={"model": "resnet34"}, extras=False)
    make_run(root / "failed", status="failed", error="RuntimeError: out of <b>memory</b>")
    (root / "broken").mkdir()
    (root / "broken" / "summary.json").write_text("{")
    with keeping(kept):
        contents = write.read([root], "A <i>title</i>", 8)
    out = tmp_path_factory.mktemp("report")
    write.write(contents, out)
    return root, out, contents
