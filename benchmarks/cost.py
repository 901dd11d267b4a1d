"""Time and peak memory of a command and all that it starts.

    python -m benchmarks.cost dvc repro

Memory is the proportional set size of all processes together, looked at twice a second: a page that several share
counts once. Linux only.
"""

import os
import sys
import time

import psutil

SECONDS = 0.5


def memory(process: psutil.Process) -> int:
    """Bytes of a process and its descendants; one that ended meanwhile counts nothing."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    """Run the command, print its cost, end with its exit status."""
    began, peak = time.monotonic(), 0
    process = psutil.Popen(sys.argv[1:])
    while process.poll() is None:
        try:
            peak = max(peak, memory(process))
        except psutil.NoSuchProcess:
            break
        time.sleep(SECONDS)
    status = process.wait()
    wall, spent = time.monotonic() - began, os.times()
    cpu = spent.children_user + spent.children_system
    print(f"{wall:.0f} s, {cpu:.0f} s of processor time, at most {peak / 2**30:.2f} GiB, exit status {status}")
    sys.exit(status)


if __name__ == "__main__":
    main()
