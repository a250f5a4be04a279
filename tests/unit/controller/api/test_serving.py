"""How bytes become a whole request of WSGI, and what is answered where they can't; each over a socket, to a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import pytest
import uvloop

from controller.api.serving import connections, refusals, requests, threads

POST = b"POST /v2/%C3%A9?a=b HTTP/1.1\r\nHost: a\r\n"


@dataclasses.dataclass
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def _parse(heard: bytes, count: int) -> list[Answer]:
    found = []
    for _ in range(count):
        head, _, heard = heard.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        found.append(Answer(int(status.split(" ")[1]), headers, heard[:length]))
        heard = heard[length:]
    return found


def ask(application: Any, *clients: bytes, count: int = 1, wait: float = 0.0, **options: Any) -> list[list[Answer]]:
    """What each client, which sends its bytes and listens until it has so many answers, hears."""
    limits: dict[str, Any] = {
        "request_timeout": 5.0,
        "answer_timeout": 5.0,
        "connections": 20,
        "body": 1_000_000,
        "bodies": 10_000_000,
        **options,
    }
    number_of_threads = limits.pop("threads", 2)
    around = {name: limits.pop(name) for name in ("refusing",) if name in limits}

    async def run() -> list[list[Answer]]:
        answering = threads.Threads(application, count=number_of_threads, answer_timeout=limits["answer_timeout"], **around)
        door = connections.Door(connections.Limits(**limits), answering)
        server = await asyncio.get_running_loop().create_server(lambda: connections.Connection(door), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def one(sent: bytes) -> list[Answer]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            heard = b""
            while heard.count(b"HTTP/1.1 ") < count or not _is_whole(heard, count):
                part = await asyncio.wait_for(reader.read(65536), 10)
                if not part:
                    break
                heard += part
            writer.close()
            return _parse(heard, count)

        found = await asyncio.gather(*(one(sent) for sent in clients))
        server.close()
        await asyncio.sleep(wait)
        await door.close(2, lambda: None)
        assert not door.open
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


async def eventually(is_so: Callable[[], bool]) -> None:
    """Let the loop go on until something has happened, however busy the machine is."""
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


def _is_whole(heard: bytes, count: int) -> bool:
    try:
        answers = _parse(heard, count)
    except (IndexError, ValueError):
        return False
    return all(len(one.body) == int(one.headers.get("content-length", 0)) for one in answers)


def refuse_to(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Refuse, and say whose page asked."""

    def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        written: Callable[[bytes], object] = start_response(status, [*headers, ("X-Page", environ.get("HTTP_ORIGIN", ""))])
        return written

    return refusals.application(environ, begin)


class Application:
    """Answers with what it was asked."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.body = b""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.environ, self.body = environ, environ["wsgi.input"].read()
        start_response("200 OK", [("X-Said", "é")])
        return [b"o", b"k"]


@pytest.mark.parametrize("size", [0, 1, requests.IN_MEMORY, requests.IN_MEMORY + 1, 900_000])
def test_a_body_of_any_size_arrives_as_it_was_sent(size: int) -> None:
    sent, application = bytes(range(256)) * (size // 256) + b"x" * (size % 256), Application()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (sent[start : start + 7000] for start in range(0, size, 7000)))
    ((answer,),) = ask(application, POST + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
    assert (answer.status, answer.body, answer.headers["x-said"]) == (200, b"ok", "é")
    assert application.body == sent
    assert application.environ["CONTENT_LENGTH"] == str(size)
    assert application.environ["PATH_INFO"] == "/v2/Ã©"
    assert application.environ["QUERY_STRING"] == "a=b"


def test_of_a_body_that_is_too_large_only_the_size_is_told() -> None:
    application = Application()
    parts = (b"%x\r\n%s\r\n" % (60_000, b"x" * 60_000)) * 20
    ask(application, POST + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
    assert (application.body, application.environ["CONTENT_LENGTH"]) == (b"", "1200000")
    assert "HTTP_TRANSFER_ENCODING" not in application.environ


def test_a_large_body_that_does_not_fit_on_the_disk_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/tmp/figlina-body-x")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    ((answer,),) = ask(Application(), POST + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000)
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "5", "close")
    assert json.loads(answer.body)["faultstring"] == "There is no room for the request now. Please repeat it later."


def test_a_disk_that_is_full_only_at_the_end_costs_no_thread_and_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file has not written yet is refused again when it is closed."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b", buffering=1 << 20))  # noqa: SIM115
    large = POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    for _ in range(3):  # one after the other, in a room for one and by one thread
        answers = [
            answer for (answer,) in ask(Application(), large, large, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", threads=1, bodies=200_000)
        ]
        assert [answer.status for answer in answers] == [503, 503, 200]


@pytest.mark.parametrize("size", [60_000, 100_000, 190_000])
def test_bodies_that_come_slowly_take_no_more_of_the_disk_together_than_they_may(size: int) -> None:
    """Fifty clients send most of a body each and then wait; when they are gone, the room is free again."""
    most = 1_000_000

    async def status(port: int, sent: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        found = int((await reader.readline()).split()[1])
        writer.close()
        return found

    async def run() -> None:
        answering = threads.Threads(Application(), count=1, answer_timeout=5)
        limits = connections.Limits(request_timeout=5, answer_timeout=5, connections=100, body=200_000, bodies=most)
        door = connections.Door(limits, answering)
        server = await asyncio.get_running_loop().create_server(lambda: connections.Connection(door), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        for _, writer in slow:
            writer.write(POST + b"Content-Length: 200000\r\n\r\n" + b"x" * size)
            await writer.drain()

        def hears() -> list[asyncio.StreamReader]:
            return [reader for reader, writer in slow if writer.is_closing() or reader.at_eof() or reader._buffer]  # type: ignore[attr-defined]

        def is_here(connection: connections.Connection) -> bool:
            return connection._request is not None and connection._request.body.size == size

        await eventually(lambda: len(hears()) + sum(map(is_here, door.open)) == len(slow))
        assert door.room.left >= 0
        refused = hears()
        assert len(refused) == (0 if size <= requests.IN_MEMORY else 50 - most // size)
        for reader in refused:
            with contextlib.suppress(ConnectionResetError):  # it was still sending
                assert (await reader.readline()).split()[1] == b"503"
        assert await status(port, POST + b"Content-Length: 2\r\n\r\n{}") == 200, "who sends little needs no room"
        for _, writer in slow:
            writer.close()
        await eventually(lambda: door.room.left == most)
        assert await status(port, POST + b"Content-Length: 190000\r\n\r\n" + b"x" * 190_000) == 200
        server.close()
        await door.close(2, lambda: None)
        assert door.room.left == most

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.lengthy
def test_a_request_that_found_no_thread_in_time_was_not_begun() -> None:
    asked = []

    def slow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(environ)
        time.sleep(1.5)  # a busy machine may bring the second request a second later
        start_response("200 OK", [])
        return [b""]

    get = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n"
    answers = [answer for (answer,) in ask(slow, get, get, threads=1, answer_timeout=0.3, refusing=refuse_to)]
    assert sorted(answer.status for answer in answers) == [200, 503]
    assert len(asked) == 1
    refused = next(answer for answer in answers if answer.status == 503)
    assert (refused.headers["retry-after"], refused.headers["x-page"]) == ("5", "b")
    assert "nothing was done" in json.loads(refused.body)["faultstring"]


@pytest.mark.lengthy
def test_who_waits_for_a_thread_that_hangs_is_told_and_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_WITH_THREADS", 0.2)
    go_on = threading.Event()

    def hangs(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/hangs":
            go_on.wait(10)
        start_response("200 OK", [])
        return []

    asked = [b"GET %s HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n" % path for path in (b"/hangs", b"/")]
    hanging, quick = ask(hangs, *asked, answer_timeout=1.0, refusing=refuse_to)
    go_on.set()
    assert (hanging[0].status, hanging[0].headers["x-page"], "retry-after" in hanging[0].headers) == (503, "b", True)
    assert quick[0].status == 200


@pytest.mark.lengthy
def test_the_answer_that_comes_after_all_is_sent_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_WITH_THREADS", 0.1)

    def late(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/late":
            time.sleep(1.6)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    ((first, second),) = ask(
        late, b"GET /late HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", count=2, wait=1.0, answer_timeout=1.0
    )
    assert (first.status, second.status, second.body) == (503, 200, b"/b")


def test_a_fault_of_the_application_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("/srv/secret")

    ((answer,),) = ask(broken, b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n", refusing=refuse_to)
    assert (answer.status, answer.headers["x-page"]) == (500, "b")
    assert b"/srv/secret" not in answer.body
    assert "/srv/secret" in caplog.text


def test_a_header_that_would_pass_for_another_one_is_left_out() -> None:
    application = Application()
    ask(application, POST + b"X-Project-Id: mine\r\nX_Project_Id: forged\r\nAccept: a\r\nAccept: b\r\nScript_Name: c\r\n\r\n")
    assert application.environ["HTTP_X_PROJECT_ID"] == "mine"
    assert application.environ["HTTP_ACCEPT"] == "a,b"
    assert application.environ["SCRIPT_NAME"] == ""


def test_the_server_itself_believes_no_proxy_not_even_one_on_this_machine() -> None:
    application = Application()
    ask(application, POST + b"X-Forwarded-Proto: https\r\n\r\n")
    assert application.environ["wsgi.url_scheme"] == "http"
    assert application.environ["HTTP_X_FORWARDED_PROTO"] == "https", "oslo.middleware is to read it where the operator says so"


def test_the_trailers_of_a_body_are_no_headers() -> None:
    application = Application()
    ask(application, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Project-Id: forged\r\n\r\n")
    assert "HTTP_X_PROJECT_ID" not in application.environ


def test_trailers_without_an_end_are_refused() -> None:
    begun = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: "
    ((answer,),) = ask(_says_its_size, begun + b"a" * 2_000_000)
    assert answer.status == 431


def test_of_a_client_that_takes_no_answer_nothing_more_is_read() -> None:
    async def run() -> mock.Mock:
        answering = threads.Threads(_says_its_size, count=1, answer_timeout=5.0)
        limits = connections.Limits(request_timeout=5.0, answer_timeout=5.0, connections=20, body=1000, bodies=10_000)
        connection, transport = connections.Connection(connections.Door(limits, answering)), mock.Mock()
        transport.get_extra_info.return_value = ("127.0.0.1", 1)
        connection.connection_made(transport)
        connection.pause_writing()
        connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return transport

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run()).pause_reading.assert_called()


def _says_its_size(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [str(len(environ["wsgi.input"].read())).encode()]


def test_who_asks_first_is_told_to_go_on_when_it_is_the_turn_of_the_request() -> None:
    first = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    second = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    ((one, go_on),) = ask(Application(), first + second, count=2)
    assert (one.status, go_on.status) == (200, 100)


@pytest.mark.parametrize(
    ("sent", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_unless_the_client_wants_no_more_of_it(sent: bytes, closes: bool) -> None:
    ((answer,),) = ask(Application(), sent)
    assert (answer.headers.get("connection") == "close") is closes
    assert answer.headers["date"].endswith(" GMT")


def test_answers_to_many_requests_in_one_piece_come_in_their_order() -> None:
    def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(0.01 if environ["PATH_INFO"].endswith("0") else 0)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    sent = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(60))
    (answers,) = ask(echo, sent, count=60, threads=4)
    assert [answer.body for answer in answers] == [b"/%d" % number for number in range(60)]


def test_what_makes_no_sense_after_a_good_request_is_refused_after_its_answer() -> None:
    ((good, bad),) = ask(Application(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n", count=2)
    assert (good.status, bad.status, bad.headers["connection"]) == (200, 400, "close")


def test_an_answer_to_head_and_one_without_content_have_no_body() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("204 No Content" if environ["PATH_INFO"] == "/empty" else "200 OK", [])
        return [] if environ["PATH_INFO"] == "/empty" else [b"four"]

    ((answer,),) = ask(application, b"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, "content-length" in answer.headers) == (204, False)
    ((head,),) = ask(application, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (head.status, head.headers["content-length"], head.body) == (200, "4", b"")


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_one_thread_is_enough_for_requests_that_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_PATIENCE", 5.0)
    used: set[int] = set()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        used.add(threading.get_ident())
        time.sleep(0.01)
        start_response("200 OK", [])
        return [b"ok"]

    ask(application, *[GET] * 20, threads=8)
    assert len(used) == 1


def test_requests_that_wait_get_a_thread_each() -> None:
    """None is answered before all are being answered."""
    together = threading.Barrier(8)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        together.wait(4)
        start_response("200 OK", [])
        return [b"ok"]

    assert [answer.status for (answer,) in ask(application, *[GET] * 8, threads=8)] == [200] * 8


@pytest.mark.parametrize("patience", [0.5, 0.0])
def test_requests_do_not_wait_for_one_that_hangs(patience: float) -> None:
    """A thread that is long at its request waits for something: what comes later is taken at once."""
    go_on = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/hangs":
            assert go_on.wait(10)
        start_response("200 OK", [])
        return [b"ok"]

    async def run() -> None:
        answering = threads.Threads(application, count=3, answer_timeout=5, patience=patience)
        answered: asyncio.Queue[object] = asyncio.Queue()

        def take(path: bytes) -> None:
            request = requests.Request(requests.Peer("", "", 0), requests.Body(0, requests.Room(0)))
            request.method, request.path = "GET", path
            answering.take(request, lambda _, answer: answered.put_nowait(answer))

        take(b"/hangs")
        await asyncio.sleep(patience + 0.1)
        begun = time.monotonic()
        for _ in range(4):
            take(b"/")
            await asyncio.wait_for(answered.get(), 3)
        assert time.monotonic() - begun < 3 * 0.5, "each of the four would have waited for half a second"
        go_on.set()
        await asyncio.wait_for(answered.get(), 3)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("number_of_threads", [1, 2])
def test_an_answer_does_not_wait_for_what_its_thread_does_next(number_of_threads: int) -> None:
    """The second request is waiting when the first is answered, and then hangs."""
    began, heard = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/second":
            began.set()
            assert heard.wait(4)
        else:
            time.sleep(0.05)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    async def run() -> None:
        answering = threads.Threads(application, count=number_of_threads, answer_timeout=5)
        answered: asyncio.Queue[bytes] = asyncio.Queue()
        for path in (b"/first", b"/second"):
            request = requests.Request(requests.Peer("", "", 0), requests.Body(0, requests.Room(0)))
            request.method, request.path = "GET", path
            answering.take(request, lambda _, answer: answered.put_nowait(answer[1]))
        assert await asyncio.wait_for(answered.get(), 3) == b"/first"
        assert await asyncio.to_thread(began.wait, 3)
        assert answered.empty()
        heard.set()
        assert await asyncio.wait_for(answered.get(), 3) == b"/second"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1\r\nHost: a", 200),
        (b"HTTP/1.1\r\nHost: a.example:9876", 200),
        (b"HTTP/1.1\r\nHost: [2001:db8::1]:80", 200),
        (b"HTTP/1.1\r\nHost:", 200),
        (b"HTTP/1.0\r\nAccept: */*", 200),
        (b"HTTP/1.1\r\nAccept: */*", 400),
        (b"HTTP/1.1\r\nHost: a\r\nHost: a", 400),
        (b"HTTP/1.0\r\nHost: a\r\nHost: b", 400),
        (b"HTTP/1.1\r\nHost: a b", 400),
        (b"HTTP/1.1\r\nHost: a/b", 400),
        (b"HTTP/1.1\r\nHost: a@b", 400),
        (b"HTTP/1.1\r\nHost: a:b:c", 400),
        (b"HTTP/1.1\r\nHost: [::1", 400),
        (b"HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", 200),
        (b"HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked", 200),
        (b"HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", 501),
        (b"HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
        (b"HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", 400),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(head: bytes, status: int) -> None:
    """RFC 9112, 3.2 and 6.1. The answer is the last, for nobody knows where the request ends."""
    application = Application()
    body = b"0\r\n\r\n" if b"chunked" in head.lower() else b""
    ((answer,),) = ask(application, b"POST / " + head + b"\r\n\r\n" + body)
    assert answer.status == status
    assert bool(application.environ) == (status == 200)
    if status != 200:
        assert answer.headers["connection"] == "close"
        assert len(json.loads(answer.body)["faultstring"].split()) > 4


def test_a_host_that_is_empty_is_none() -> None:
    application = Application()
    ask(application, b"GET / HTTP/1.1\r\nHost:\r\n\r\n")
    assert "HTTP_HOST" not in application.environ


@pytest.mark.parametrize(("version", "told"), [(b"1.1", True), (b"1.0", False)])
def test_who_speaks_an_older_http_is_not_told_to_continue(version: bytes, told: bool) -> None:
    head = b"POST / HTTP/" + version + b"\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    heard: list[Answer] = ask(Application(), head, count=1 + told)[0]
    assert [answer.status for answer in heard] == ([100] if told else []) + [200]


def test_of_many_requests_that_come_at_once_few_are_held() -> None:
    """Each takes thirty times as much memory as its bytes; all are answered, in their order."""

    async def run() -> None:
        answering = threads.Threads(_says_its_size, count=1, answer_timeout=5.0)
        limits = connections.Limits(request_timeout=5.0, answer_timeout=5.0, connections=20, body=1000, bodies=10_000)
        connection, transport = connections.Connection(connections.Door(limits, answering)), mock.Mock()
        transport.get_extra_info.return_value = ("127.0.0.1", 1)
        transport.get_write_buffer_size.return_value = 0
        transport.is_closing.return_value = False
        connection.connection_made(transport)
        connection.data_received(GET * 8000)
        assert len(connection._queue) <= connections._PART // len(GET) + 1
        assert transport.pause_reading.called
        connection.connection_lost(None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_many_requests_that_come_at_once_are_all_answered_in_their_order() -> None:
    paths: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    asked = [f"/{number}" for number in range(1500)]
    sent = b"".join(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % path.encode() for path in asked)
    (heard,) = ask(application, sent, count=len(asked))
    assert paths == [answer.body.decode() for answer in heard] == asked


@pytest.mark.lengthy
def test_while_the_last_requests_are_finished_the_process_says_that_it_lives() -> None:
    """gunicorn ends processes that say nothing for 30 s."""
    lives = mock.Mock()

    async def run() -> None:
        answering = threads.Threads(_says_its_size, count=1, answer_timeout=5.0)
        door = connections.Door(connections.Limits(request_timeout=5.0, answer_timeout=5.0, connections=20, body=9, bodies=9), answering)
        door.open.add(mock.Mock())
        await door.close(1.0, lives)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert lives.call_count >= 2
