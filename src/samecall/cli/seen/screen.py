"""The fleet on a screen: tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from samecall.cli._trouble import printable
from samecall.cli.seen.fleet import Fleet, Latency

__all__ = ["picture", "usd"]

_WAYS = (
    ("all", "all calls"),
    ("l1", "L1 hits"),
    ("l2", "L2 hits"),
    ("coalesced_local", "coalesced here"),
    ("coalesced_remote", "coalesced elsewhere"),
    ("led", "led"),
    ("provider", "provider"),
    ("error", "errors"),
)
_QUIET = 5.0
_MOST_MODELS, _MOST_KEYS, _FEWEST = 10, 10, 3
_AROUND = 4 + 4 + 4
"""Lines of the summary, of the four tables' heads, and the empty ones between."""


def picture(
    fleet: Fleet, where: str, rates: Mapping[str, float] | None = None, lines: int | None = None
) -> RenderableType:
    """All that there is to see; `lines`: of a screen, which the lists of workers and keys fill."""
    if not fleet.workers:
        return Text(
            f"{where}: no worker has told of anything in the last hour.\n"
            "Workers report by themselves once they make calls, unless Cache(report=False)."
        )
    latency = _latency(fleet.latency)
    workers, keys = len(fleet.workers), _MOST_KEYS
    if lines is not None:
        models = min(len(fleet.models), _MOST_MODELS)
        left = lines - _AROUND - latency.row_count - models
        workers = min(workers, max(_FEWEST, left - _FEWEST))
        keys = min(keys, max(_FEWEST, left - workers))
    parts: list[RenderableType] = [_summary(fleet, where, rates or {}), latency]
    if fleet.models:
        parts.append(_models(fleet))
    parts.append(_workers(fleet, workers))
    if fleet.hottest:
        parts.append(_hottest(fleet, keys))
    return Group(*(each for part in parts for each in (part, Text(""))))


def _summary(fleet: Fleet, where: str, rates: Mapping[str, float]) -> RenderableType:
    count = fleet.counters
    grid = Table.grid(padding=(0, 3))
    for _ in range(4):
        grid.add_column()
    hit = "-" if fleet.hit_rate is None else f"{fleet.hit_rate:.1%}"
    grid.add_row(
        f"calls [bold]{count.get('calls', 0):,}[/]{_rate(rates, 'calls')}",
        f"provider calls [bold]{count.get('provider_calls', 0):,}[/]"
        f"{_rate(rates, 'provider_calls')}",
        f"saved [bold]{hit}[/] of calls",
        f"errors {count.get('errors', 0):,}",
    )
    grid.add_row(
        f"L1 hits {count.get('l1_hits', 0):,}",
        f"L2 hits {count.get('l2_hits', 0):,}",
        f"coalesced here {count.get('coalesced_local', 0):,}",
        f"coalesced elsewhere {count.get('coalesced_remote', 0):,}",
    )
    grid.add_row(
        f"tokens paid {fleet.paid_tokens:,}",
        f"tokens saved [bold]{fleet.saved_tokens:,}[/]",
        f"paid {usd(fleet.paid_usd)}",
        f"saved [bold green]{usd(fleet.saved_usd)}[/]",
    )
    faults = count.get("store_faults", 0)
    more = f", {faults:,} store faults" if faults else ""
    workers = f"{len(fleet.workers):,} worker{'' if len(fleet.workers) == 1 else 's'}"
    title = Text(f"{where}: {workers}{more}", style="bold")
    return Group(title, grid)


def _rate(rates: Mapping[str, float], name: str) -> str:
    return f" ({rates[name]:,.0f}/s)" if name in rates else ""


def _latency(latency: Mapping[str, Latency]) -> Table:
    table = _table("latency", "p50", "p90", "p99")
    for how, name in _WAYS:
        told = latency.get(how)
        if told is not None and told.p50_ms is not None:
            table.add_row(name, *map(_ms, (told.p50_ms, told.p90_ms, told.p99_ms)))
    return table


def _models(fleet: Fleet) -> Table:
    table = _table(
        "model", "calls", "L1", "L2", "coalesced", "provider", "errors", "tokens saved", "saved"
    )
    for each in fleet.models[:_MOST_MODELS]:
        table.add_row(
            Text(printable(each.model)),
            *_counts(each.calls, each.l1_hits, each.l2_hits, each.coalesced),
            *_counts(each.provider_calls, each.errors, each.saved_tokens),
            usd(each.saved_usd),
        )
    return table


def _workers(fleet: Fleet, most: int) -> Table:
    table = _table("worker", "calls", "L1", "L2", "coalesced", "provider", "errors", "p99", "quiet")
    shown = sorted(fleet.workers, key=lambda worker: worker.quiet > _QUIET)[:most]
    for each in shown:
        table.add_row(
            Text(printable(each.worker)),
            *_counts(each.calls, each.l1_hits, each.l2_hits, each.coalesced),
            *_counts(each.provider_calls, each.errors),
            _ms(each.p99_ms),
            f"{each.quiet:.0f} s" if each.quiet > _QUIET else "",
            style="dim" if each.quiet > _QUIET else None,
        )
    left = len(fleet.workers) - len(shown)
    if left:
        table.add_row(f"and {left:,} more", *[""] * 8)
    return table


def _hottest(fleet: Fleet, most: int) -> Table:
    table = _table("hottest keys", "calls", "model", "namespace")
    for each in fleet.hottest[:most]:
        table.add_row(
            each["key"][:16],
            f"{each['calls']:,}",
            Text(printable(each["model"])),
            Text(printable(each["namespace"])),
        )
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _counts(*counts: int) -> list[str]:
    return [f"{count:,}" if count else "-" for count in counts]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f} ms" if value < 10 else f"{value:,.0f} ms"


def usd(value: float | None) -> str:
    """Money for people."""
    if value is None:
        return "$ ?"
    if 0 < value < 0.0001:
        return "<$0.0001"
    return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"
