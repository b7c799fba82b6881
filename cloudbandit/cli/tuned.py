"""What ``tune`` prints when it has finished."""

from __future__ import annotations

from pathlib import Path

from cloudbandit.cli.common import config_text, out
from cloudbandit.cli.grid import Column, pairs, print_table
from cloudbandit.cli.text import shown, styled
from cloudbandit.core.report import Report, tally
from cloudbandit.tune.answer import Answer
from cloudbandit.tune.subject import Subject, in_a_shell


def print_answer(answer: Answer, report: Report, subject: Subject, url: str | None, plot: Path | None) -> None:
    """The setting, against the default; the front, what each knob was worth, failures by reason."""
    grid = pairs()
    if answer.best is None:
        out.print("[bold red]no setting that was tried meets the SLOs[/]")
        if answer.nearest is not None:
            setting, violations = answer.nearest
            grid.add_row("nearest miss (not an answer)", shown(config_text(setting.candidate)))
            for slo, excess in violations.items():
                grid.add_row("violates", shown(f"{slo} by {100 * excess:.3g} %"))
    else:
        grid.add_row("[bold]chosen[/]", styled(config_text(answer.best.candidate), "bold green"))
        command = subject.command(answer.best.candidate)
        if command is not None:
            grid.add_row("command", shown(in_a_shell(*command)))
        wanted = [*subject.goal.metrics, *(slo.metric for slo in subject.goal.slos)]
        for metric in dict.fromkeys(wanted):
            was = "" if answer.default is None else f"  (default {_number(answer.default.metrics.get(metric))})"
            limits = "".join(f"  ({slo})" for slo in subject.goal.slos if slo.metric == metric)
            grid.add_row(shown(metric), shown(f"{_number(answer.best.metrics.get(metric))}{was}{limits}"))
    for line in _verdict(answer):
        grid.add_row("against the default", shown(line))
    for reason, count in answer.failures.items():
        grid.add_row("failures", shown(f"{count} × {reason}"))
    grid.add_row(
        "trials", shown(f"{tally(report.observations)}; {answer.searched} searched, {answer.repeated} repeats")
    )
    grid.add_row("spent", f"{report.spent_usd:.4g} USD, {report.elapsed_s:.0f} s")
    grid.add_row("stopped by", shown(report.stop_reason))
    if url is not None:
        grid.add_row("store", shown(url))
    if plot is not None:
        grid.add_row("figure", shown(plot))
    out.print(grid)
    if answer.front:
        metrics = subject.goal.metrics
        columns = [Column(m, [_number(s.metrics.get(m)) for s in answer.front]) for m in metrics]
        columns.append(Column("setting", [config_text(s.candidate) for s in answer.front], text=True))
        print_table("front: no other setting is better in all objectives", columns)
    if answer.importance:
        shares = [f"{100 * share:.0f} %" for share in answer.importance.values()]
        print_table(
            "what each knob was worth by itself, of the model's variation",
            [Column("knob", list(answer.importance), text=True), Column("share", shares)],
        )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _verdict(answer: Answer) -> list[str]:
    """What may be said of the gain."""
    if answer.default_failed:
        return [f"the default itself fails: {answer.default_failed}"]
    if answer.default is None:
        return ["not compared: the default is not known"]
    if not answer.gains:
        return ["not compared: nothing beside the default was measured again"]
    lines = [
        f"{metric}: {g.median:+.1f} % [{g.low:+.1f}, {g.high:+.1f}], {g.pairs} repeats in turns, level {100 * g.level:.0f} %"
        for metric, g in answer.gains.items()
    ]
    if all(g.low == g.high for g in answer.gains.values()):
        lines.append("every repeat is the same recorded value: the interval tells nothing of noise")
    return lines if answer.better else [*lines, "no better than the default: keep it"]
