"""The simulator has no scheduling and no routing of its own: its library defines none of it, and uses the daemon's.

    link_test.py libbaton_sim.a
"""
import re
import subprocess
import sys

FOREIGN = ["Scheduler", "BlockPool", "BlockIndex", "RoutingPolicy"]
USED = ["baton::Scheduler::plan", "baton::Scheduler::commit", "baton::Scheduler::admit", "baton::BlockPool::extend",
        "baton::BlockPool::match", "baton::BlockIndex::apply", "baton::BlockIndex::match", "baton::PerfProfile::step_seconds"]

defined, undefined = set(), set()
for line in subprocess.run(["nm", "-C", sys.argv[1]], capture_output=True, text=True, check=True).stdout.splitlines():
    found = re.match(r"(?:[0-9a-f]+)?\s+([A-Za-z]) (.*)", line)
    if found:
        if found[1] == "U":
            undefined.add(found[2])
        elif found[1] in "TtDdBbRr" or found[2].startswith("vtable"):  # the rest comes from inline functions in headers
            defined.add(found[2])

problems = [f"defines {name}" for name in sorted(defined)
            if any(re.match(rf"(vtable for |typeinfo for )?baton::(sim::)?\w*{foreign}\b", name) and "BlockRef" not in name for foreign in FOREIGN)]
problems += [f"does not use {used}" for used in USED if not any(re.match(re.escape(used) + r"[(\[]", name) for name in undefined)]
assert defined and undefined, "nm found no symbols"
print("\n".join(problems) or "uses the daemon's scheduler, pool, index and profile, and defines none")
sys.exit(bool(problems))
