import asyncio, sys, tempfile, argparse, orjson
from dataclasses import asdict
from pathlib import Path
from bench.figures.table import overhead_lines
from bench.figures.turn import Run
from bench.parts.overhead import overhead
from bench.parts.workloads import WORKLOADS
from bench.servers.cores import pinned, shared_out
from foreman.cli.serve import loop_factory
p=argparse.ArgumentParser()
p.add_argument("--rounds",type=int,default=5); p.add_argument("--seconds",type=float,default=1.0); p.add_argument("--only",action="append"); p.add_argument("--json",type=Path)
o=p.parse_args()
w=[x for x in WORKLOADS if not o.only or x.name in o.only]
def say(t): print("\r\x1b[K"+t,end="",file=sys.stderr,flush=True)
async def go():
    with pinned(shared_out()[0]), tempfile.TemporaryDirectory(prefix="foreman-bench-") as d:
        return await overhead(Path(d),w,o.rounds,o.seconds,say)
with asyncio.Runner(loop_factory=loop_factory("uvloop")) as r: turns=r.run(go())
print(file=sys.stderr)
print("\n".join(overhead_lines(Run(turns))))
if o.json: o.json.write_bytes(orjson.dumps([asdict(t) for t in turns]))
