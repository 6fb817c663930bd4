"""What Isthmus and Envoy do when an endpoint turns bad or slow: how soon it gets no more, and what clients wait for.

Backends are one process of asyncio, clients another; both are the same for either proxy, so their own cost cancels in the ratios.
"""
import asyncio
import contextlib
import multiprocessing
import statistics
import time

PAUSE = 0.002


async def answer(reader, writer, place, states, waits):
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            if waits[place]:
                await asyncio.sleep(waits[place])
            body = str(place).encode()
            writer.write(b"HTTP/1.1 %d Told\r\ncontent-length: %d\r\n\r\n%s" % (states[place], len(body), body))
            await writer.drain()
    writer.close()


async def listen(ports, states, waits, ready):
    servers = [await asyncio.start_server(lambda r, w, p=p: answer(r, w, p, states, waits), "127.0.0.1", port) for p, port in enumerate(ports)]
    ready.set()
    await asyncio.gather(*(s.serve_forever() for s in servers))


@contextlib.contextmanager
def backends(ports):
    """Backends on these ports; their statuses and waits (seconds) can be changed while they serve."""
    states, waits = multiprocessing.Array("i", [200] * len(ports)), multiprocessing.Array("d", [0.0] * len(ports))
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=lambda: asyncio.run(listen(ports, states, waits, ready)), daemon=True)
    process.start()
    if not ready.wait(10):
        raise RuntimeError("the backends do not listen")
    try:
        yield states, waits
    finally:
        process.terminate()
        process.join()


async def client(port, host, end, seen):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        sent = time.monotonic()
        writer.write(b"GET /svc-0/small HTTP/1.1\r\nhost: %s\r\n\r\n" % host.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        seen.append((sent, time.monotonic() - sent, int(head.split(b" ")[1]), body.decode()))
        await asyncio.sleep(PAUSE)
    writer.close()


async def clients(port, host, count, seconds, event=None):
    """Answers of `count` clients, by the time of the request; `event` happens after a third of the time."""
    seen, end = [], time.monotonic() + seconds

    async def happen():
        await asyncio.sleep(seconds / 3)
        if event:
            event()
        return time.monotonic()

    at, *_ = await asyncio.gather(happen(), *(client(port, host, end, seen) for _ in range(count)))
    return at, sorted(seen)


def reaction(running, start, folder, front, ports, host):
    """One of three turns to 500 under load: seconds until the last of its answers, and how many there were."""
    with backends(ports[:3]) as (states, _), running(start(folder, front, ports[:3], 1), 0, front, folder, 60):
        def turn():
            states[0] = 500
        at, seen = asyncio.run(clients(front, host, 8, 6, turn))
    bad = [sent + took for sent, took, status, _ in seen if status >= 500]
    return max(bad, default=at) - at, len(bad)


def slow(running, start, folder, front, ports, host):
    """One of five takes 100 ms: p50 and p99 in seconds, and its share of the requests."""
    with backends(ports[:5]) as (_, waits), running(start(folder, front, ports[:5], 1), 0, front, folder, 60):
        waits[0] = 0.1
        _, seen = asyncio.run(clients(front, host, 16, 8))
    seen = seen[len(seen) // 10:]
    took = sorted(t for _, t, _, _ in seen)
    return statistics.median(took), took[len(took) * 99 // 100], sum(by == "0" for *_, by in seen) / len(seen)
