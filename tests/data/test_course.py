"""What changes over a run: batch sizes and image sizes by the share of the run that is done."""

import pytest

from cifar_lit.data.course import Course


def test_without_stages_every_epoch_is_the_same():
    course = Course(batch_size=8)
    assert course.lengths(20, 0) == course.lengths(20, 7) == [8, 8, 4]
    assert Course(batch_size=8, drop_last=True).lengths(20, 0) == [8, 8]
    assert course.pixels(20, 0, 0) is None


def test_stages_begin_at_their_share_of_the_run():
    course = Course(batch_size=1, epochs=2, batch_sizes={0.0: 10, 0.5: 25}, sizes={0: 20, 0.4: 24, 0.8: 32})
    assert [course.lengths(50, epoch) for epoch in range(2)] == [[10] * 5, [25, 25]]
    assert [course.pixels(50, 0, seen) for seen in (0, 30, 40, 49)] == [20, 20, 24, 24]
    assert [course.pixels(50, 1, seen) for seen in (0, 29, 30, 49)] == [24, 24, 32, 32]


def test_a_stage_may_begin_within_an_epoch():
    assert Course(batch_size=1, epochs=1, batch_sizes={0.0: 10, 0.5: 20}).lengths(100, 0) == [10] * 5 + [20, 20, 10]


def test_a_run_shorter_than_an_epoch():
    course = Course(batch_size=10, epochs=0.5, sizes={0.0: 20, 0.5: 32})
    assert [course.pixels(100, 0, seen) for seen in (0, 24, 25, 50)] == [20, 20, 32, 32]


@pytest.mark.parametrize(
    "stages",
    [{}, {0.1: 20}, {0.0: 20, 1.0: 24}, {0.0: 20, 0.8: 24, 0.4: 32}, {0.0: 4}, {0.0: 20.5}, {0.0: True}, [[0.0, 20]], {"a": 20}],
    ids=str,
)
def test_stages_that_cannot_be(stages):
    with pytest.raises(ValueError, match=r"data\.sizes=.*allowed"):
        Course(batch_size=8, sizes=stages)
