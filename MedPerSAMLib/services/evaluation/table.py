"""The figures of a run as text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_WIDEST_LABEL, _WIDEST_WORD = 12, 5


def tables(content: Mapping[str, object], columns: Mapping[str, str]) -> str:
    """All tables of a report: Dice per set, method and label, then the means.

    Args:
        content: of ``Report.content()``.
        columns: figure -> title for the table of means over sets.
    """
    parts = [_set_table(name, methods) for name, methods in content["sets"].items()]
    parts.append(_sets_by_methods(content))
    parts.append(_mean_table(content, columns))
    return "\n\n".join(part for part in parts if part)


def _set_table(name: str, methods: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    labels = list(dict.fromkeys(label for figures in methods.values() for label in figures if label != "mean"))
    columns = ["mean", *labels] if len(labels) > 1 else ["mean"]
    rows = [
        [method, *(_number(figures.get(label, {}).get("dice")) for label in columns)]
        for method, figures in methods.items()
    ]
    counts = ["n", *(str(max(f.get(label, {}).get("n", 0) for f in methods.values())) for label in columns)]
    return _text([f"{name}: Dice", *(_short(label) for label in columns)], [*rows, counts])


def _sets_by_methods(content: Mapping[str, object]) -> str:
    sets, mean = content["sets"], content["mean"]
    if len(sets) < 2:
        return ""
    rows = [
        [
            method,
            *(_number(own.get(method, {}).get("mean", {}).get("dice")) for own in sets.values()),
            _number(figures["dice"]),
        ]
        for method, figures in mean.items()
    ]
    return _text(["all sets: Dice", *(_short(name) for name in sets), "mean"], rows)


def _mean_table(content: Mapping[str, object], columns: Mapping[str, str]) -> str:
    extra = {
        key: title
        for key, title in (("false_continuation", "false cont."), ("confidence_spearman", "confidence rho"))
        if key in content
    }
    rows = [
        [method, *(_number(figures.get(key)) for key in columns), *(_number(content[key].get(method)) for key in extra)]
        for method, figures in content["mean"].items()
    ]
    return _text(["mean over sets", *columns.values(), *extra.values()], rows)


def _text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _short(label: str) -> str:
    """Long names with each word cut, so that "left ventricle cavity" and "left ventricle myocardium" stay apart."""
    return label if len(label) <= _WIDEST_LABEL else " ".join(word[:_WIDEST_WORD] for word in label.split())
