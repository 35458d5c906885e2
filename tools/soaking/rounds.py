"""Runs the scenarios in rounds, checks their limits, and writes the table."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hand_recon_ros.synthetic import rendered_clip

from .camera import FRAMES
from .client import NoAnswer
from .memory import Growth
from .scenarios import EXPECTED_ERRORS, SCENARIOS
from .soak import Outcome, Soak

ROUND = 750.0
"""Length of a round, seconds; a shorter run has one round, in which every scenario is shorter."""
RECOVERY = 6.0
"""Length of what follows each scenario, seconds."""
LATENCY_LIMIT = 1.5
"""Of the 95th percentile while something is wrong, seconds."""
AFTER = (3.0, 0.5)
"""Afterwards it is at most this many times what it was before, plus this many seconds."""
SLOPE_LIMIT = 3.0
"""Of the memory's growth, MB per minute, in the steady scenarios: two standard errors below the slope."""
TOTAL_LIMIT = 0.25
"""By which share the memory may be larger in the last steady scenario than in the first one."""


def run(out: Path, clips: Path, seconds: float, seed: int, names: Sequence[str]) -> int:
    """Run scenarios for about a time; returns the exit code. Arguments as of the command."""
    out.mkdir(parents=True, exist_ok=True)
    clip = rendered_clip(clips, FRAMES, 0)
    share = sum(SCENARIOS[name][1] for name in names)
    rounds = max(1, round(seconds / ROUND))
    scale = max(seconds / rounds - len(names) * (RECOVERY + 8.0), 10.0) / share
    outcomes: list[Outcome] = []
    begin = time.monotonic()
    with Soak(out.resolve(), clip.resolve(), seed) as soak:
        warm = time.monotonic()
        try:
            soak.wait_for_start()
            baseline = _baseline(soak)
            warm = time.monotonic()
            for number in range(rounds):
                for name in names:
                    outcomes.append(_scenario(soak, name, scale, baseline))
                    _print(outcomes[-1], number)
                    if soak.node.returncode is not None:
                        raise NoAnswer(f"the node {soak.node.ending}: {soak.node.last_line()}")
        except NoAnswer as error:
            print(f"soak: {error} (log: {soak.node.log})", file=sys.stderr)
            outcomes.append(Outcome("the run", faults=[str(error)]))
        total = soak.memory.growth(warm)
    check_total(outcomes)
    summary = {
        "seconds": time.monotonic() - begin,
        "seed": seed,
        "slope": dataclasses.asdict(total),
        "outcomes": [dataclasses.asdict(each) for each in outcomes],
    }
    (out / "results.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = table(merged(outcomes), total, time.monotonic() - begin)
    (out / "table.md").write_text(text)
    print(text)
    failed = [f"{each.name}: {fault}" for each in outcomes for fault in dict.fromkeys(each.faults)]
    for line in failed:
        print(f"soak: {line}", file=sys.stderr)
    return 1 if failed else 0


def _baseline(soak: Soak) -> float:
    """95th percentile of the latency before anything is done to the node, seconds; its caches are full afterwards."""
    for _ in range(2):
        soak.begin()
        soak.play(2 * RECOVERY)
        outcome = Outcome("")
        soak.finish(outcome)
    return outcome.p95


def _scenario(soak: Soak, name: str, scale: float, baseline: float) -> Outcome:
    scenario, share = SCENARIOS[name]
    outcome = Outcome(name)
    begin = time.monotonic()
    try:
        soak.begin()
        scenario(soak, share * scale, outcome)
        outcome.seconds = time.monotonic() - begin
        soak.finish(outcome)
        growth = soak.memory.growth(begin + 0.25 * outcome.seconds, begin + outcome.seconds)
        outcome.slope, outcome.slope_error, outcome.memory = growth.slope, growth.error, growth.last
        check_counts(outcome)
        if scenario.__name__ == "steady" and growth.at_least > SLOPE_LIMIT:
            outcome.faults.append(
                f"memory grows by {growth.slope:.1f} +- {growth.error:.1f} MB/min, expected at most {SLOPE_LIMIT:g}"
            )
        if outcome.p95 > LATENCY_LIMIT:
            outcome.faults.append(f"95th percentile of latency is {outcome.p95:.2f} s, expected {LATENCY_LIMIT:g}")
        soak.recover(RECOVERY, outcome, AFTER[0] * baseline + AFTER[1])
    except NoAnswer as error:
        outcome.faults.append(str(error))
    soak.check_process(outcome, EXPECTED_ERRORS.get(name, ""))
    return outcome


def check_counts(outcome: Outcome) -> None:
    """Every image that the node has received is counted as what became of it."""
    # An image that waits as the node is paused or deactivated is discarded; other scenarios have none.
    discarded = outcome.received - outcome.processed - outcome.dropped - outcome.refused
    if not 0 <= discarded <= (outcome.received if outcome.name == "lifecycle" else 1):
        outcome.faults.append(
            f"of {outcome.received} images received {outcome.processed} were processed, {outcome.dropped} dropped and"
            f" {outcome.refused} refused: {discarded} are missing"
        )
    if outcome.received > outcome.sent:
        outcome.faults.append(f"{outcome.received} images received of {outcome.sent}")
    if outcome.hands > outcome.processed:
        outcome.faults.append(f"{outcome.hands} messages of {outcome.processed} images")
    if outcome.name == "bad input":
        lost = outcome.sent - outcome.received + outcome.dropped
        if abs(outcome.refused - outcome.wrong) > lost:
            outcome.faults.append(
                f"{outcome.refused} images are counted as refused, {outcome.wrong} were wrong, and {lost} were lost"
            )
        if lost > 0.1 * outcome.sent:
            outcome.faults.append(f"{lost} of {outcome.sent} images were lost or dropped: too many to check the counts")


def check_total(outcomes: Sequence[Outcome]) -> None:
    """The memory at the end against that at the begin."""
    steady = [each for each in outcomes if each.name.startswith("steady")]
    if len(steady) > 1 and not steady[-1].memory <= (1.0 + TOTAL_LIMIT) * steady[0].memory:
        steady[-1].faults.append(
            f"memory is {steady[-1].memory:.0f} MB, {steady[0].memory:.0f} at the begin: expected at most"
            f" {TOTAL_LIMIT:.0%} more"
        )


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One outcome of each scenario over all rounds: sums of counts, the last memory, the largest of the rest."""
    result: dict[str, Outcome] = {}
    for each in outcomes:
        before = result.get(each.name)
        if before is None:
            result[each.name] = dataclasses.replace(each, faults=list(each.faults))
            continue
        for name in ("seconds", "sent", "received", "processed", "dropped", "refused", "hands", "wrong", "faults"):
            setattr(before, name, getattr(before, name) + getattr(each, name))
        for name in ("p95", "after", "wrist"):
            setattr(before, name, float(np.fmax(getattr(before, name), getattr(each, name))))
        for name in ("slope", "slope_error", "memory", "what"):
            setattr(before, name, getattr(each, name))
    return list(result.values())


def table(outcomes: Sequence[Outcome], total: Growth, seconds: float) -> str:
    """Markdown."""
    header = (
        "Scenario", "Time, s", "What", "Images sent", "received", "dropped", "refused", "of wrong", "Hands",
        "Latency p95, ms", "afterwards", "Wrist error afterwards, mm", "Memory, MB", "Growth, MB/min", "Limits kept",
    )  # fmt: skip
    rows = [header, ("---",) * len(header)]
    for each in outcomes:
        growth = "" if np.isnan(each.slope) else f"{each.slope:+.1f} ± {each.slope_error:.1f}"
        rows.append((
            each.name, f"{each.seconds:.0f}", each.what, *map(str, (each.sent, each.received, each.dropped)),
            str(each.refused), str(each.wrong), str(each.hands), _number(1e3 * each.p95), _number(1e3 * each.after),
            _number(1e3 * each.wrist), _number(each.memory), growth, "no" if each.faults else "yes",
        ))  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines[1] = lines[1].replace(" ", "")
    lines += ["", f"In all {seconds:.0f} s; growth of memory over all scenarios {total.slope:+.2f} ± {total.error:.2f}"
              f" MB/min, {total.last:.0f} MB at the end."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.0f}"


def _print(outcome: Outcome, number: int) -> None:
    state = "; ".join(dict.fromkeys(outcome.faults)) or "limits kept"
    print(
        f"round {number + 1}: {outcome.name}, {outcome.seconds:.0f} s ({outcome.what}): {outcome.sent} images,"
        f" {outcome.refused} refused of {outcome.wrong} wrong, {outcome.hands} hands,"
        f" {outcome.memory:.0f} MB: {state}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
