"""When a worker is replaced, and when it is given up."""

from __future__ import annotations

from zarrfs.daemon.restarts import RestartHistory, RestartPolicy


def test_a_useful_worker_is_replaced_at_once_however_often() -> None:
    history = RestartHistory()
    assert {history.died(at * 0.5, useful=True) for at in range(500)} == {0.0}
    assert history.restarts == 500


def test_workers_that_do_nothing_are_given_up_after_a_few() -> None:
    history = RestartHistory(RestartPolicy(strikes=3))
    waits = [history.died(float(at), useful=False) for at in range(3)]
    assert waits[2] is None
    assert waits[0] is not None and waits[1] is not None and 0 < waits[0] < waits[1]


def test_a_useful_worker_clears_the_strikes() -> None:
    history = RestartHistory(RestartPolicy(strikes=2))
    assert history.died(0, useful=False) is not None
    assert history.died(1, useful=True) == 0
    assert history.died(2, useful=False) is not None


def test_a_worker_that_answers_clears_the_strikes_while_it_lives() -> None:
    history = RestartHistory(RestartPolicy(strikes=2))
    for at in range(10):
        assert history.died(float(at), useful=False) is not None
        history.was_useful()  # and then it rests


def test_too_many_deaths_in_a_period_end_it_all_the_same() -> None:
    history = RestartHistory(RestartPolicy(burst=10, burst_period_s=100))
    assert None not in [history.died(float(at), useful=True) for at in range(10)]
    assert history.died(11, useful=True) is None
    slow = RestartHistory(RestartPolicy(burst=10, burst_period_s=100))
    assert None not in [slow.died(at * 20.0, useful=True) for at in range(50)]


def test_retries_wait_longer_and_longer_up_to_a_bound() -> None:
    history = RestartHistory(RestartPolicy(retry_first_s=1, retry_most_s=10))
    assert [history.failed() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    history.served()
    assert history.failed() == 1
