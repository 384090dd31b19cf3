"""Plans as text: what a person reads, and what the corpus keeps."""

import json
from dataclasses import asdict
from typing import Any

from ecfs.testing.simulation.operations import Op
from ecfs.testing.simulation.plans import Chapter, Contest, Life, Plan, Trouble, Wound


def to_json(plan: Plan | Contest) -> str:
    """A plan as JSON, which `from_json` reads."""
    return json.dumps(asdict(plan), default=lambda value: value.decode("ascii"), indent=1)


def from_json(text: str) -> Plan | Contest:
    """The plan in a text."""
    value = json.loads(text)
    if "chapters" not in value:
        value["lies"] = tuple((disk, lie) for disk, lie in value["lies"])
        value["features"] = tuple(value["features"])
        return Contest(**value)
    value["chapters"] = tuple(_chapter(item) for item in value["chapters"])
    value["features"] = tuple(value["features"])
    return Plan(**value)


def _chapter(value: dict[str, Any]) -> Chapter:
    lies = tuple((disk, lie) for disk, lie in value["lies"])
    return Chapter(tuple(value["bad"]), tuple(_life(life) for life in value["lives"]), lies,
                   tuple(value["absent"]))


def _life(value: dict[str, Any]) -> Life:
    value["programs"] = tuple(tuple(_op(op) for op in program) for program in value["programs"])
    value["troubles"] = tuple(Trouble(**trouble) for trouble in value["troubles"])
    value["wounds"] = tuple(Wound(**wound) for wound in value["wounds"])
    return Life(**value)


def _op(value: dict[str, Any]) -> Op:
    return Op(**{**value, "path": value["path"].encode(), "other": value["other"].encode()})


def to_text(plan: Plan | Contest) -> str:
    """A plan as a script that one reads from top to bottom."""
    if isinstance(plan, Contest):
        return (f"seed {plan.seed}: contest {plan.kind} of {plan.machines_count} for "
                f"{plan.duration_s:g} s, {plan.geometry} on {plan.targets_count} targets, jobs "
                f"take {plan.delay_s:g} s, lies {plan.lies}")
    lines = [f"seed {plan.seed}: {plan.geometry} on {plan.targets_count} targets, jobs take "
             f"{plan.delay_s:g} s{', beyond the budget' * plan.beyond}"]
    for chapter in plan.chapters:
        lines.append(f"chapter: bad targets {[number + 1 for number in chapter.bad]}, absent "
                     f"{[number + 1 for number in chapter.absent]}")
        lines += [f"  target{disk + 1} {lie}" for disk, lie in chapter.lies]
        for life in chapter.lives:
            lines += _life_lines(life)
    return "\n".join(lines)


def _life_lines(life: Life) -> list[str]:
    at = "" if life.cut_at is None else f" at call {life.cut_at}"
    lines = [f"  life that ends: {life.end}{at}"]
    lines += [f"    before: target{wound.disk + 1} {wound.kind}, file at {wound.pick:.3f}"
              for wound in life.wounds]
    lines += [f"    at {trouble.at_s:g} s for {trouble.for_s:g} s: target{trouble.disk + 1} "
              f"{trouble.what}" for trouble in life.troubles]
    for program in life.programs:
        lines.append("    program")
        lines += [f"      {op.text()}" for op in program]
    return lines
