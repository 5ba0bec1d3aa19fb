"""fio jobs as mountpoint-s3 and other peers publish them: sequential 256 KiB by 1 and 4 jobs, random 4 and 128 KiB."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.scene import BIG, Measure, Scene
from benchmarks.subjects import Live, Place, Skipped, ours, passthrough, rclone

Mount = Callable[..., AbstractContextManager[Live]]

RUN_SECONDS = 5


def job(mount: Mount, *options: str) -> Measure:
    """MiB per second that fio reports for reads of the large file."""

    def measure(place: Place) -> float:
        program = shutil.which("fio")
        if program is None:
            raise Skipped("fio is not installed")
        with mount(place) as live:
            os.listdir(live.volume)
            command = [program, "--name=read", f"--filename={live.volume / BIG}", "--readonly"]
            command += ["--output-format=json", "--time_based", f"--runtime={RUN_SECONDS}", "--thread"]
            done = subprocess.run([*command, *options], capture_output=True, check=True, timeout=120)
            # Written before the JSON where a job has something to remark.
            text = done.stdout[done.stdout.index(b"{") :]
            return float(sum(each["read"]["bw_bytes"] for each in json.loads(text)["jobs"])) / (1 << 20)

    return measure


def run(scene: Scene) -> None:
    """Ask all of it."""
    jobs = {
        "sequential 256 KiB, 1 job": ("--rw=read", "--bs=256k", "--numjobs=1"),
        "sequential 256 KiB, 4 jobs": ("--rw=read", "--bs=256k", "--numjobs=4", "--offset_increment=25%"),
        "random 4 KiB": ("--rw=randread", "--bs=4k", "--numjobs=1"),
        "random 128 KiB": ("--rw=randread", "--bs=128k", "--numjobs=1"),
    }
    peers: dict[str, Mount] = {"ours": ours, "rclone": rclone, "pyfuse3": passthrough}
    for name, options in jobs.items():
        measures = {peer: job(mount, *options) for peer, mount in peers.items()}
        scene.compare(f"fio {name}", measures, unit="MiB/s", is_better_when="higher")
