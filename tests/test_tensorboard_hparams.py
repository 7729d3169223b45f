"""TensorBoard's HParams tab, as TensorBoard itself reads it from the event files."""

import pytest
from running import TINY

pytestmark = pytest.mark.slow  # trains


def tab(logdir):
    """The columns and the rows of the tab: TensorBoard's own answers to its web page."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    events = EventMultiplexer(tensor_size_guidance={"hparams": 0}).AddRunsFromDirectory(str(logdir))
    events.Reload()
    provider = MultiplexerDataProvider(events, str(logdir))
    context = backend_context.Context(TBContext(data_provider=provider, logdir=str(logdir)))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    columns = context.experiment_from_metadata(request, "", True, metadata, [])
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING],
        col_params=[
            *(api_pb2.ColParams(hparam=info.name, include_in_result=True) for info in columns.hparam_infos),
            *(api_pb2.ColParams(metric=info.name, include_in_result=True) for info in columns.metric_infos),
        ],
    )
    handler = list_session_groups.Handler(request, context, "", asked)
    return columns, list(handler.run().session_groups)


def names(columns):
    return [info.name for info in columns.hparam_infos], [info.display_name for info in columns.metric_infos]


def numbers(group):
    return {value.name.tag: value.value for value in group.metric_values}


def test_a_sweep_has_a_row_for_each_job(train):
    from cifar_lit import runs

    sweep = ["-m", *TINY, "trainer.max_epochs=1", "logger=tensorboard", "optimizer.momentum=0.5", "model.dropout=0.1"]
    ran = train(*sweep, "optimizer.lr=0.1,0.01", folder="sweep")
    assert ran.code == 0, ran.err
    columns, rows = tab(ran.folder)
    settings, results = names(columns)
    assert {"model", "optimizer", "optimizer.lr", "seed", "data.batch_size", "trainer.max_epochs"} <= set(settings)
    assert {"optimizer.momentum", "model.dropout"} <= set(settings), "what was typed is compared too"
    assert results == ["val/acc", "val/acc_best", "test/acc", "test/acc5", "gap", "train_seconds", "images_per_second", "params"]
    assert sorted(row.hparams["optimizer.lr"].number_value for row in rows) == [0.01, 0.1]
    for row in rows:
        [session] = row.sessions
        assert row.hparams["model"].string_value == "resnet8"
        assert row.hparams["optimizer.momentum"].number_value == 0.5
        assert row.hparams["seed"].number_value == 0
        summary = runs.read_summary(ran.folder / session.name.split("/")[0])
        assert summary["overrides"].count(f"optimizer.lr={row.hparams['optimizer.lr'].number_value:g}") == 1
        for name in results:
            assert numbers(row)[f"summary/{name.replace('/', '_')}"] == pytest.approx(summary[name], rel=1e-6), name
        assert session.status == 1, "success"


def test_a_run_has_one_row_however_often_it_was_resumed(train, monkeypatch):
    from tensorboard.plugins.hparams import api_pb2

    from cifar_lit.task import Task

    whole = Task.on_train_epoch_start

    def stopped(task):
        if task.current_epoch == 1:
            raise RuntimeError("no luck")
        whole(task)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "on_train_epoch_start", stopped)
        first = train(*TINY, "logger=tensorboard")
        assert first.code == 1
    _, [row] = tab(first.folder)
    assert row.sessions[0].status == api_pb2.STATUS_UNKNOWN, "what failed may be resumed"
    assert not numbers(row)
    assert train(f"resume={first.folder}", folder="").code == 0
    _, [row] = tab(first.folder)
    assert len(row.sessions) == 1
    assert row.sessions[0].status == api_pb2.STATUS_SUCCESS
    assert numbers(row)["summary/test_acc"] >= 0


def test_settings_by_the_names_that_people_type(train):
    ran = train(*TINY, "trainer.max_epochs=1", "logger=tensorboard", "mix=cutmix", "optim=adam_onecycle")
    assert ran.code == 0, ran.err
    columns, [row] = tab(ran.folder)
    found = {
        name: row.hparams[name].string_value for name in ("model", "optimizer", "scheduler", "mix", "data", "data.validation")
    }
    assert found == {
        "model": "resnet8", "optimizer": "adam", "scheduler": "onecycle", "mix": "cutmix", "data": "synthetic",
        "data.validation": "holdout",
    }  # fmt: skip
    settings, _ = names(columns)
    assert not {"logger", "run_dir", "overrides", "callbacks.progress_bar"} & set(settings), "no settings of a recipe"
    assert all(info.type for info in columns.hparam_infos), "a type each, or the page cannot filter"
