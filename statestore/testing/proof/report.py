"""The report of a proof: for people as Markdown, for programs as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from statestore.bench.machine import described
from statestore.testing.proof.child import GROUPS
from statestore.testing.proof.running import EXAMPLES, KILLS, Case, Outcome, Proof

_COUNTED = {
    "kills": ("process killed", "processes killed"),
    "sequences": ("sequence of calls", "sequences of calls"),
    "damaged": ("file damaged", "files damaged"),
}


class Promise(msgspec.Struct, kw_only=True):
    """What one test shows in all its variants."""

    says: str
    outcome: Outcome
    variants: int
    seconds: float
    done: str
    """How much of what is counted, ``""`` for none."""
    why: str


def groups(proof: Proof) -> list[tuple[str, str, list[Promise]]]:
    """Return the short name, title and promises of each group that has any, in the order of reports."""
    found = []
    for name, title in GROUPS.values():
        tests: dict[str, list[Case]] = {}
        for case in proof.cases:
            if case.group == name:
                tests.setdefault(case.test, []).append(case)
        if tests:
            found.append((name, title, [_promise(cases) for cases in tests.values()]))
    return found


def _promise(cases: Sequence[Case]) -> Promise:
    order: tuple[Outcome, ...] = ("failed", "not run", "not applicable", "proven")
    outcomes = {case.outcome for case in cases}
    return Promise(
        says=cases[0].promise,
        outcome=next(one for one in order if one in outcomes),
        variants=len(cases),
        seconds=sum(case.seconds for case in cases),
        done=counted(cases),
        why=cases[0].why,
    )


def counted(cases: Sequence[Case]) -> str:
    """Return how much of what is counted the tests did, as words."""
    total: Counter[str] = Counter()
    for case in cases:
        total.update(case.done)
    return ", ".join(_number(total[kind], *words) for kind, words in _COUNTED.items() if total[kind])


def _number(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _promises(count: int) -> str:
    return _number(count, "promise", "promises")


def _tests(count: int) -> str:
    return _number(count, "test", "tests")


def failures(proof: Proof) -> list[tuple[Case, list[Case]]]:
    """Return, for each promise that was broken, the first variant that failed, and the other ones."""
    by_test: dict[str, list[Case]] = {}
    for case in proof.with_outcome("failed"):
        by_test.setdefault(case.test, []).append(case)
    return [(first, others) for first, *others in by_test.values()]


def again(proof: Proof, case: Case) -> str:
    """Return the command that runs one test again."""
    options = ["--only", case.name]
    if proof.kills != KILLS:
        options += ["--kills", str(proof.kills)]
    if proof.examples != EXAMPLES:
        options += ["--examples", str(proof.examples)]
    return shlex.join(["statestore", "prove", proof.backend, *options])


def verdict(proof: Proof) -> str:
    """Return the result in a few sentences."""
    by_outcome = Counter(one.outcome for _, _, promises in groups(proof) for one in promises)
    tested = [case for case in proof.cases if case.outcome != "not run"]
    done = counted(tested)
    text = {
        "proven": f"{proof.backend} is proven: {_promises(by_outcome['proven'])} kept",
        "failed": f"{proof.backend} is not proven: {_promises(by_outcome['failed'])} broken, "
        f"{by_outcome['proven']} kept",
        "interrupted": f"Interrupted. {proof.backend} has kept {_promises(by_outcome['proven'])} up to then",
    }[proof.verdict]
    if by_outcome["not applicable"]:
        text += f", {by_outcome['not applicable']} not applicable"
    text += f"; {_tests(len(tested))} in {proof.seconds:.1f} s{f' ({done})' if done else ''}."
    if left := proof.with_outcome("not run"):
        text += f" Not run: {_tests(len(left))}."
    if proof.left:
        text += f" Left out by --only: {_tests(proof.left)}."
    return text


def markdown(proof: Proof) -> str:
    """Return the report as a page."""
    about = [
        ("engine", f"`{proof.engine}`{f', {proof.package}' if proof.package else ''}"),
        ("it says", f"persistent = {proof.persistent}, max_key_size = {proof.max_key_size}"),
        ("begun", proof.started),
        ("searched", f"--kills {proof.kills} --examples {proof.examples}"),
        *described(proof.machine, proof.versions),
    ]
    parts = [f"# Backend {proof.backend}", verdict(proof), _table(("", ""), about)]
    if failed := failures(proof):
        parts.append("## Failures")
    for case, others in failed:
        parts += [f"### {case.promise}", f"`{case.name}`. Again: `{again(proof, case)}`"]
        if others:
            parts.append(f"As well: {', '.join(f'`{other.name}`' for other in others)}")
        parts.append(_fenced(case.details or case.message))
    for _, title, promises in groups(proof):
        rows = [
            (one.says + (f" ({one.done})" if one.done else ""), one.outcome, f"{one.seconds:.2f}")
            for one in promises
        ]
        parts += [f"## {title}", _table(("promise", "is", "seconds"), rows)]
    if reasons := not_applicable(proof):
        parts += ["## Not applicable", "\n".join(f"- {what}: {why}." for what, why in reasons)]
    return "\n\n".join(parts) + "\n"


def not_applicable(proof: Proof) -> list[tuple[str, str]]:
    """Return what was not proven because it is not for this engine, and why."""
    by_reason: dict[str, set[str]] = {}
    for case in proof.with_outcome("not applicable"):
        by_reason.setdefault(case.why, set()).add(case.test)
    reasons = [(f"{_promises(len(tests))} above", why) for why, tests in by_reason.items()]
    return [*proof.not_applicable.items(), *reasons]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fenced(text: str) -> str:
    return f"~~~~text\n{text.strip()}\n~~~~"


def write_reports(proof: Proof, directory: Path) -> list[Path]:
    """Write ``report.json`` and ``report.md``; return where they are. Raises ``OSError``."""
    directory.mkdir(parents=True, exist_ok=True)
    machine_form, human_form = directory / "report.json", directory / "report.md"
    machine_form.write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=1) + b"\n")
    human_form.write_text(markdown(proof), encoding="utf-8")
    return [machine_form, human_form]
