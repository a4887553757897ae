from __future__ import annotations

import threading
import time

from edge_glass.corpora.downloading.fetching import Picture
from edge_glass.corpora.downloading.running import HostQueue
from patience import join


def pictures(*hosts: str) -> list[Picture]:
    return [Picture(f"http://{host}/{number}") for number, host in enumerate(hosts)]


def test_a_busy_host_holds_up_its_own_jobs_only():
    queue = HostQueue(pictures("a", "a", "a", "b", "a"), per_host=2)
    taken = [queue.take() for _ in range(3)]
    assert [job.picture.url for job in taken] == ["http://a/0", "http://a/1", "http://b/3"]
    queue.done(taken[1])
    assert queue.take().picture.url == "http://a/2"


def test_a_pausing_host_is_passed_over():
    queue = HostQueue(pictures("a", "b"), per_host=2)
    queue.pause("a", 3600)
    assert queue.take().host == "b"


def test_a_pause_ends():
    queue = HostQueue(pictures("a"), per_host=2)
    end = time.monotonic() + 0.3
    queue.pause("a", 0.3)
    queue.pause("a", 0.1)  # does not shorten the first
    assert queue.take().host == "a"
    assert time.monotonic() >= end


def test_waiting_threads_go_on_and_end():
    queue = HostQueue(pictures(*"a" * 50), per_host=1)
    taken = []

    def work() -> None:
        while job := queue.take():
            taken.append(job.picture.url)
            queue.done(job)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    assert sorted(taken) == sorted(f"http://a/{n}" for n in range(50))


def test_closing_ends_those_that_wait():
    queue = HostQueue(pictures("a", "a"), per_host=1)
    queue.take()
    threading.Timer(0.1, queue.close).start()
    assert queue.take() is None


def test_an_url_that_cannot_be_parsed_is_handed_out_too():
    queue = HostQueue([Picture("http://[::"), Picture("http://a/1")], per_host=1)
    assert [queue.take().host, queue.take().host, queue.take()] == ["", "a", None]
