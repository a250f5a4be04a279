"""Answers whoever scrapes a PROMETHEUS listener: HAProxy hands its requests to a socket here, as many at a time as a listener lets in.

Nobody can load the amphora by asking often: an answer is made once a second at most, and so seldom that making it takes a tenth of one
processor at most. Nor by taking an answer slowly: that holds up nobody else, and as long as several answers are still being taken, who
comes gets the newest of them again, for those of two thousand members are large.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from amphora_agent import haproxy_runtime, metric_sums, metrics, outages, system
from amphora_agent.protocol import rendered

LOG = logging.getLogger(__name__)
AT_ONCE = 20
"""Requests that are answered at the same time, as many as a listener has connections; HAProxy has others wait."""
QUEUE_TIMEOUT, ANSWER_TIMEOUT, LONGEST_ANSWER = 3, 5, 30
"""Seconds that a request waits for its turn, until whoever takes nothing of an answer is left alone, and until anybody is."""
DIFFERENT = 4
"""So many answers may still be being taken when another one is made."""
FRESH = 1.0
"""Seconds for which an answer is given again."""
_SHARE = 10
_SLOW = 0.1
_REST = 0.05
"""Seconds after which whoever could not let anybody in tries again."""
_LONGEST_HEAD = 16_384
_UNAVAILABLE = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

BACKEND = """
backend {name}
    mode http
    timeout connect {answer}s
    timeout queue {queue}s
    timeout server {answer}s
    server agent unix@{path} maxconn {at_once}
"""


@dataclasses.dataclass(slots=True, eq=False)
class _Answer:
    """How many are taking it."""

    content: bytes
    takers: int = 0


class Exporter:
    """Serves from the first time that it is needed."""

    def __init__(self, path: pathlib.Path, runtime: haproxy_runtime.RuntimeApi, kept: pathlib.Path) -> None:
        self._path, self._runtime = path, runtime
        self.sums = metric_sums.Sums(kept)
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self._answer, self._until = _Answer(_UNAVAILABLE), 0.0
        self._taken: set[_Answer] = set()
        self._processor: Sequence[int] = ()
        self.expiries: Callable[[], Mapping[str, float]] = dict  # of listeners: when the first of their certificates ends
        self.former: Callable[[], Mapping[str, int]] = dict  # connections that workers of before have open, by `report.Statistics.active`
        self.others: Callable[[], Iterable[Mapping[str, str]]] = tuple  # rows as of `show stat`, of what HAProxy does not serve

    @property
    def backend(self) -> str:
        """The section of HAProxy's configuration that leads here."""
        return BACKEND.format(name=rendered.METRICS_BACKEND, path=self._path, at_once=AT_ONCE, queue=QUEUE_TIMEOUT, answer=ANSWER_TIMEOUT)

    def ensure_serving(self) -> None:
        """Listen; what an earlier agent listened on is taken over.

        :raises OSError: it can't; the next call tries again.
        """
        with self._lock:
            if self._listening is not None:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            with contextlib.ExitStack() as on_failure:
                listening = on_failure.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
                listening.bind(str(self._path))
                self._path.chmod(0o666)  # HAProxy is another user; the directory is ours
                listening.listen(64)
                on_failure.pop_all()
            self._listening = listening
            threading.Thread(target=self._serve, args=(self._listening,), name="metrics", daemon=True).start()

    def note(self, worker: int, former: haproxy_runtime.Session) -> None:
        """Remember what a worker has counted that has a successor: what scrapers see goes on from there, whether anybody scrapes or not.

        :raises RuntimeFailed: it does not answer.
        """
        if self._listening is not None:
            self.sums.leave(worker, metrics.counts(former.ask("show stat"), former.ask("show info"), rendered.is_own))

    def _serve(self, listening: socket.socket) -> None:
        turns = threading.Semaphore(2 * AT_ONCE)  # two workers of HAProxy may ask, of before and after a reload
        trouble = outages.Outage(LOG, "Who answers scrapers")
        while True:
            try:
                self._let_in(listening, turns)
                trouble.over()
            except (OSError, RuntimeError) as exc:  # there is no descriptor, or no thread, at present
                trouble.met(exc)
                time.sleep(_REST)

    def _let_in(self, listening: socket.socket, turns: threading.Semaphore) -> None:
        """:raises OSError, RuntimeError: nobody can be let in."""
        connection, _ = listening.accept()
        turns.acquire()
        try:
            threading.Thread(target=self._talk, args=(connection, turns), daemon=True).start()
        except RuntimeError:
            turns.release()
            connection.close()
            raise

    def _talk(self, connection: socket.socket, turns: threading.Semaphore) -> None:
        try:
            with contextlib.suppress(OSError), connection:
                connection.settimeout(ANSWER_TIMEOUT)
                received = b""
                while b"\r\n\r\n" not in received and len(received) < _LONGEST_HEAD:
                    if not (chunk := connection.recv(4096)):
                        return
                    received += chunk
                with self._reply() as answer:
                    _send(connection, answer)
            self.sums.save_now_and_then()
        finally:
            turns.release()

    @contextlib.contextmanager
    def _reply(self) -> Iterator[bytes]:
        """For as long as it is being taken."""
        with self._lock:
            self._renew()
            answer = self._answer
            answer.takers += 1
            self._taken.add(answer)
        try:
            yield answer.content
        finally:
            with self._lock:
                answer.takers -= 1
                if not answer.takers:
                    self._taken.discard(answer)

    def _renew(self) -> None:
        """One for all who ask while it is fresh; a slow failure is so for as long as it took: a HAProxy that hangs holds up one of them."""
        if len(self._taken) < DIFFERENT or self._answer.content is _UNAVAILABLE:
            began, spent = time.monotonic(), time.thread_time()
            if began >= self._until:
                try:
                    body = self._make().encode()
                except (haproxy_runtime.RuntimeFailed, OSError, ValueError, KeyError) as exc:
                    LOG.warning("Metrics can't be made: %s", exc)
                    took = time.monotonic() - began
                    self._answer, self._until = _Answer(_UNAVAILABLE), began + (2 * took if took > _SLOW else 0)
                else:
                    head = f"HTTP/1.0 200 OK\r\nContent-Type: {metrics.CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
                    self._answer = _Answer(head.encode() + body)
                    self._until = began + max(FRESH, _SHARE * (time.thread_time() - spent))

    def _make(self) -> str:
        first = (system.read_file(pathlib.Path("/proc/stat")) or b"").decode().partition("\n")[0]
        processor = [int(word) for word in first.split()[1:9]]
        load = metrics.load(processor, self._processor or [0] * len(processor), system.memory())
        self._processor = processor
        info, head, statistics = self._runtime.ask("show info;show stat").partition("# pxname")  # of one worker, while another one begins
        present = metrics.families(head + statistics, info, rendered.is_own)
        counted = {name: dict(samples) for name, samples in present.items() if metrics.is_count(name)}
        metrics.add(present, self.sums.take(haproxy_runtime.worker_in(info) or 0, counted))
        metrics.add(present, metrics.of_those_in(present, metrics.open_connections(self.former())))
        metrics.add_rows(present, self.others())
        try:
            for listener, end in self.expiries().items():
                present.setdefault(metrics.EXPIRY, {})[("listener", listener),] = end
        except (haproxy_runtime.RuntimeFailed, OSError, ValueError) as exc:  # a look at one costs not all the others their metrics
            LOG.warning("Metrics leave out when certificates end: %s", exc)
        return metrics.text(present, load)


def _send(connection: socket.socket, answer: bytes) -> None:
    """As fast as it is taken.

    :raises OSError: nothing of it is taken any more, or it takes too long.
    """
    rest, until = memoryview(answer), time.monotonic() + LONGEST_ANSWER
    while rest:
        rest = rest[connection.send(rest) :]
        if rest and time.monotonic() > until:
            raise TimeoutError
