"""A benchmark's report as tables for the terminal, and the lines below them."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from optkit.progress import size


def headline(report: dict[str, Any], shape: dict[str, Any]) -> str:
    """What was fed at one shape, in words: 1 x 128 tokens, 8 texts at a time, 1 x 3 x 224 x 224 pixels."""
    if texts := shape.get("texts"):
        plural = "s" if shape["batch"] > 1 else ""
        return f"{shape['batch']} text{plural} at a time, {texts['shortest']} to {texts['longest']} tokens"
    if "pixels" in shape:
        return f"{shape['batch']} x {shape['pixels']} pixels"
    return f"{shape['batch']} x {shape['seq']} tokens"


def names(report: dict[str, Any], shape: dict[str, Any]) -> list[str]:
    """The rows' names: model and backend, and the path where there are several."""
    paths = {row["path"] for row in shape["rows"]}
    return [
        f"{row['model']}, {row['backend']}" + (f" ({row['path'].rstrip('/').split('/')[-1]})" if len(paths) > 1 else "")
        for row in shape["rows"]
    ]


def shape_table(report: dict[str, Any], shape: dict[str, Any]) -> Table:
    """The engines at one shape."""
    streamed, texts = report["settings"]["mode"] == "throughput", shape.get("texts")
    what = "throughput" if streamed else "latency"
    table = Table(title=f"{what}, {headline(report, shape)}", title_justify="left", box=None, header_style="bold")
    over = any(row.get("over_int8") for row in shape["rows"])
    columns = ["ms", *(("p90", "p99") if texts and not streamed else ("quartiles",)), "a second", "times as fast"]
    columns += ["as OpenVINO int8"] if over else []
    table.add_column("", overflow="fold")
    for column in (*columns, *(("streams",) if streamed else ()), ""):
        table.add_column(column, justify="right", no_wrap=column != "times as fast")
    for name, row in zip(names(report, shape), shape["rows"], strict=True):
        middle = [said(row[p]) for p in ("p90", "p99")] if texts and not streamed else [_pair(row["quartiles"])]
        streams = [str(row["streams"])] if streamed else []
        marked = "noisy" if row["noisy"] else ""
        cells = (name, said(row["milliseconds"]), *middle, f"{row['per_second']:.1f}", said_ratio(row))
        cells += ((f"{row['over_int8'][0]:.2f}" if row.get("over_int8") else "1"),) if over else ()
        cells += tuple(streams)
        table.add_row(*cells, marked)
    return table


def said_ratio(row: dict[str, Any]) -> str:
    """``5.20 (5.11 to 5.28)``: the ratio with its 95 % interval; of the reference that it is it."""
    if row["ratio"] is None:
        return "reference"
    ratio, low, high = row["ratio"]
    return f"{ratio:.2f} ({low:.2f} to {high:.2f})"


def _pair(values: list[float]) -> str:
    return f"{said(values[0])} to {said(values[1])}"


def said(milliseconds: float) -> str:
    """Three digits or more."""
    return f"{milliseconds:.3f}" if milliseconds < 1 else f"{milliseconds:.2f}"


def threads_in_words(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def load_table(report: dict[str, Any]) -> Table:
    """Load time, memory and size on disk of each model."""
    table = Table(title="loading", title_justify="left", box=None, header_style="bold")
    table.add_column("", overflow="fold")
    for column in ("loads in", "memory", "without imports", "on disk"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, model in zip(names(report, {"rows": report["models"]}), report["models"], strict=True):
        load = model.get("load") or {}
        peak, imports = load.get("peak"), load.get("imports")
        table.add_row(
            name,
            f"{load['seconds']:.2f} s" if load else "-",
            size(peak) if peak else "-",
            size(peak - imports) if peak and imports else "-",
            size(model["bytes"]),
        )
    return table


def lines(report: dict[str, Any]) -> list[str]:
    """How it was measured, what was left out, and what to beware of."""
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rounds = [len(row["rounds"]) for shape in report["shapes"] for row in shape["rows"]]
    counted = f"{min(rounds)} to {max(rounds)}" if min(rounds) < max(rounds) else f"{rounds[0]}"
    below = [
        f"{machine['cpu']}, {threads_in_words(settings['threads'])}; {versions}.",
        f"Medians of {counted} rounds by turns; times as fast: against the reference in the same round, with the 95 % "
        "interval of the median.",
    ]
    if "precision" in settings:
        below.append(
            f"OpenVINO computes at its default precision on this CPU, {settings['precision']}, unless f32 is said."
        )
    for shape in report["shapes"]:
        if texts := shape.get("texts"):
            below.append(
                f"{texts['timed']} of {texts['texts']} texts, {texts['median']} tokens in the median, "
                f"{texts['padding']:.0%} of the tokens padding."
            )
    # One line for backends that a path offers nothing for the same reason.
    reasons: dict[str, list[str]] = {}
    for each in report["left_out"]:
        reasons.setdefault(each["why"], []).append(each["backend"])
    below += [f"left out: {', '.join(dict.fromkeys(backends))}: {why}" for why, backends in reasons.items()]
    plans = [(row["backend"], row["plan"]) for shape in report["shapes"] for row in shape["rows"] if "plan" in row]
    below += [f"{backend}'s plan: {plan}" for backend, plan in dict.fromkeys(plans)]
    return below + [f"warning: {warning}" for warning in report["warnings"]]
