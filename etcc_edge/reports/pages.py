"""Tables and plots as one page: Markdown, or HTML that needs no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate, groupby

from etcc_edge.reports.plots import COLOURS
from etcc_edge.reports.tables import Table


@dataclass(frozen=True)
class Section:
    """``plots``: SVG text, for which ``key`` names the colours."""

    title: str
    text: str
    tables: list[Table]
    plots: list[str] = field(default_factory=list)
    key: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A paragraph of the introduction that starts with "Warning" stands out."""

    heading: str
    introduction: list[str]
    sections: list[Section]


def markdown_page(page: Page) -> str:
    """Every table, as GitHub's Markdown."""
    parts = [f"# {_markdown_text(page.heading)}", *map(_markdown_text, page.introduction)]
    for section in page.sections:
        parts += [f"## {section.title}", _markdown_text(section.text)]
        for table in section.tables:
            parts += [f"**{_markdown_text(table.title)}**", _markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*\[\]<>|&#])", r"\\\1", " ".join(text.split()))


def _markdown_table(table: Table) -> str:
    rule = ["---" if i == 0 or table.is_prose(i) else "---:" for i in range(len(table.head))]
    lines = [table.head, rule, *table.rows]
    return "\n".join("| " + " | ".join(map(_markdown_text, line)) + " |" for line in lines)


_STYLE = """
body { font: 13px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; max-width: 100%; margin: .8rem 0; font-variant-numeric: tabular-nums;
  break-inside: avoid; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; white-space: nowrap; }
th, td { padding: .18rem .5rem; text-align: right; border-bottom: 1px solid #ddd; }
th { font-weight: 600; } th:first-child { text-align: left; } tbody th { font-weight: 400; }
th.prose, td.prose { text-align: left; }
.first { padding-left: 1.4rem; } .shaded td { text-align: center; min-width: 3rem; }
.shaded thead tr:last-child th:not(:first-child) { text-align: center; }
thead tr:last-child th { border-bottom: 1px solid #666; } th.group { text-align: center; }
.row { display: flex; flex-wrap: wrap; gap: 0 2.2rem; align-items: flex-start; overflow-x: auto; }
.plots { gap: 0 1rem; } .key span { white-space: nowrap; margin-right: 1rem; }
.key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .3rem; }
svg { margin: .6rem 0; break-inside: avoid; font: 11px system-ui, sans-serif; }
svg text { fill: #222; } .warning { font-weight: 600; }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print {
  body { font-size: 9px; margin: 0; max-width: none; } th, td { padding: .1rem .3rem; } .row { overflow: visible; }
  h2, h2 + p, .key { break-after: avoid; } .plots { gap: 0; } svg { width: 24.5%; height: auto; }
}
"""


def html_page(page: Page) -> str:
    """Every table and plot in one page that loads and runs nothing."""
    heading = escape(page.heading)
    body = [f"<h1>{heading}</h1>"]
    for paragraph in page.introduction:
        kind = ' class="warning"' if paragraph.startswith("Warning") else ""
        body.append(f"<p{kind}>{escape(paragraph)}</p>")
    for section in page.sections:
        body += [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.text)}</p>"]
        if section.plots:
            body += [_key(section.key), f'<div class="row plots">{"".join(section.plots)}</div>']
        body.append(f'<div class="row">{"".join(map(_html_table, section.tables))}</div>')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width">'
        f"<title>{heading}</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _key(names: Sequence[str]) -> str:
    entries = (
        f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{escape(name)}</span>'
        for i, name in enumerate(names)
    )
    return f'<p class="key">{" ".join(entries)}</p>' if names else ""


def _html_table(table: Table) -> str:
    groups = [(group, len(list(columns))) for group, columns in groupby(table.columns, key=lambda column: column[0])]
    starts = set(accumulate((width for _, width in groups), initial=0)) - {0}

    prose = [table.is_prose(i) for i in range(len(table.columns))]

    def kinds(column: int) -> str:
        names = ["first"] if column in starts and table.shade is None else []
        names += ["prose"] if prose[column] else []
        return f' class="{" ".join(names)}"' if names else ""

    head = ""
    if len(groups) > 1:
        cells = (f'<th class="group" colspan="{width}">{escape(group)}</th>' for group, width in groups)
        head = f"<tr>{''.join(cells)}</tr>"
    names = "".join(f"<th{kinds(i)}>{escape(name)}</th>" for i, (_, name) in enumerate(table.columns))
    rows = []
    for r, (first, *others) in enumerate(table.rows):
        cells = (
            f"<td{kinds(c)}{_shade(table.shade[r][c] if table.shade else 0)}>{_cell(cell)}</td>"
            for c, cell in enumerate(others, 1)
        )
        rows.append(f"<tr><th>{escape(first)}</th>{''.join(cells)}</tr>")
    kind = ' class="shaded"' if table.shade else ""
    return (
        f"<table{kind}><caption>{escape(table.title)}</caption>"
        f"<thead>{head}<tr>{names}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(text: str) -> str:
    """An interval may go below its figure, but stays in one piece, as do a number and the unit of its bytes."""
    return re.sub(r" (?=[KMG]?i?B$)", "\u00a0", escape(text)).replace("–", "\u2060–\u2060")


_DARK = 0.55  # shade beyond which white text reads better than black


def _shade(share: float) -> str:
    if not share:
        return ""
    text = "#fff" if share > _DARK else "#222"
    return f' style="background:rgba(0,114,178,{share:.2f});color:{text}"'
