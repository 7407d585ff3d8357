"""A record of two rounds of every part, made up, for the tests of what is made from records."""

from bench.figures.budget import CROWD, DEEP, RESTART_ROWS, RESTARTED, SHALLOW
from bench.figures.record import Claims, Mixed, Pauses, Record, Restart, Submitted, Waiting
from bench.figures.turn import DIRECT, FOREMAN, NGINX, PASS_THROUGH, Turn

WORKLOADS = {"lone": 1, "long": 1, "saturation": 64, "tags": 1, "models": 1, "clients-8": 8}
# By subject: added first token, CPU, delay of a chunk.
COSTS = {DIRECT: (0.0, 0.0, 10.0), NGINX: (100.0, 20.0, 20.0), PASS_THROUGH: (300.0, 100.0, 30.0)}
COSTS[FOREMAN] = (200.0, 50.0, 22.0)


def turn(workload: str, subject: str, number: int) -> Turn:
    added, cpu, delay = COSTS[subject]
    figures = {"rate": 1000.0 / (1 + added), "cpu": cpu * (1 + number), "memory": cpu / 2}
    for share in ("p50", "p90", "p99"):
        figures |= {f"first_{share}": 50.0 + added, f"total_{share}": 60.0 + added, f"delay_{share}": delay}
    if workload == "long":
        figures["cpu_chunk"] = cpu / 10
    if (workload, subject) == ("clients-8", FOREMAN):
        figures |= {"gap_p50": 60.0 + number * 100, "gap_p90": 70.0, "gap_p99": 80.0}
    return Turn(workload, subject, number, 10, figures)


def record() -> Record:
    rounds = range(2)
    return Record(
        machine={"at": "2026-01-02", "cores": 2, "fsync_us": 180, "nginx": None, "packages": {"aiohttp": "3.14"}},
        settings={
            "parts": ["overhead", "capacity", "storage", "stall", "mixed"],
            "rounds": 2,
            "workloads": [
                {"name": name, "shows": f"what {name} shows", "clients": clients, "flat_out": name == "saturation"}
                for name, clients in WORKLOADS.items()
            ],
        },
        turns=[turn(workload, subject, n) for n in rounds for workload in WORKLOADS for subject in COSTS],
        waiting=[
            Waiting(round=n, clients=CROWD, bytes_each=5000.0, accept_seconds=1.0, drain_seconds=1.5 + 2 * n)
            for n in rounds
        ],
        submitted=[Submitted(round=n, jobs=10_000, seconds=0.5) for n in rounds],
        claims=[
            Claims(round=n, rows=rows, claim_us=cost, next_us=2 * cost)
            for n in rounds
            for rows, cost in ((SHALLOW, 200.0), (DEEP, 220.0))
        ],
        restarts=[
            Restart(round=n, rows=rows, seconds=seconds)
            for n in rounds
            for rows, seconds in ((0, 0.2), (RESTART_ROWS, 0.4))
        ],
        pauses=[
            Pauses(
                round=n,
                phase=phase,
                pings=1000,
                p50=0.2,
                p99=1.0,
                p999=worst,
                longest=20.0,
                late_p999=0.3,
                late_longest=0.4,
            )
            for n in rounds
            for phase, worst in (("nothing", 1.0), ("much", 11.0))
        ],
        mixed=[
            Mixed(
                round=n,
                scenario="two models",
                way=way,
                chats=16,
                load_keys=2,
                load_seconds=0.4,
                loads=loads,
                failures=0,
                cut_off=0,
                seconds=3.0,
                longest_wait=2.5,
            )
            for n in rounds
            for way, loads in ((DIRECT, 16), (FOREMAN, 2), (RESTARTED, 3))
        ],
    )
