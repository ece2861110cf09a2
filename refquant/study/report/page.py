"""The report as one HTML page that needs nothing else: no network, no fonts, no other files.

Colours follow the reader's theme (drawing/svg.py); tables scroll sideways on narrow screens; a
click on a column's head sorts by it. A content security policy forbids everything else.
"""

import json
from html import escape

from refquant.drawing.svg import FONT, svg, theme_css
from refquant.study.report.document import (
    Block,
    Bullets,
    Cards,
    Cell,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

CSS = """
:root{color-scheme:light dark;--good:#00664b;--bad:#a33f00;--soft:#f4f6f8;--link:#0060a8}
@media(prefers-color-scheme:dark){:root{--good:#4fd1a5;--bad:#ff9a5c;--soft:#1c2229;--link:#7ab8ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 FONT}
main{max-width:820px;margin:0 auto;padding:28px 20px 80px}
h1{font-size:1.9rem;line-height:1.2;margin:.2em 0}
h2{font-size:1.3rem;margin:2.4em 0 .6em;padding-top:.8em;border-top:1px solid var(--grid)}
.subtitle,figcaption{color:var(--quiet)}
.subtitle{font-size:1.05rem;margin:0 0 1.4em}
nav{font-size:.92rem;margin:1.2em 0 1.4em;display:flex;flex-wrap:wrap;gap:.2em 1.1em}
nav a{color:var(--link);text-decoration:none}nav a:hover{text-decoration:underline}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.card{background:var(--soft);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:1.55rem;line-height:1.25;font-variant-numeric:tabular-nums}
.card span{color:var(--quiet);font-size:.88rem;line-height:1.3;display:block}
li{margin:.35em 0;overflow-wrap:anywhere}ul{padding-left:1.2em}
figure{margin:1.4em 0}figcaption{font-size:.9rem;margin-top:.3em}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
figure svg{width:100%;min-width:600px;height:auto;display:block}
table{border-collapse:collapse;font-size:.86rem;line-height:1.4;width:100%;
font-variant-numeric:tabular-nums}
.wide table{white-space:nowrap}
@media(min-width:1180px){.wide,.roomy{margin:0 -160px}
.roomy td:nth-child(3){white-space:nowrap}}
th,td{padding:6px 10px;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
th{color:var(--quiet);font-weight:600;white-space:nowrap;position:sticky;top:0;
background:var(--paper)}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--link)}
th button:after{content:"\\21C5";padding-left:.3em;font-weight:400;opacity:.5}
th[aria-sort] button:after{opacity:1}
th[aria-sort=ascending] button:after{content:"\\25B2"}
th[aria-sort=descending] button:after{content:"\\25BC"}
.n{text-align:right;white-space:nowrap}tbody tr:hover{background:var(--soft)}
small{display:block;font-weight:400;color:var(--quiet);font-size:.92em;max-width:34em;margin-top:.25em}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.open{color:var(--quiet);font-weight:600}
@media(max-width:640px){main{padding:18px 14px 60px}h1{font-size:1.5rem}
.cards{grid-template-columns:1fr 1fr}
.stack thead{display:none}.stack td{display:block;text-align:left;border:0;padding:2px 0}
.stack tr{display:block;padding:10px 0;border-bottom:1px solid var(--grid)}
.stack td:first-child{font-weight:600}
.stack td:before{content:attr(data-head) ": ";color:var(--quiet);font-weight:400}
.stack td:first-child:before{content:""}}
@media print{h2{break-after:avoid}figure,tr{break-inside:avoid}}
"""

JS = """
document.querySelectorAll("th button").forEach(function(button){
 button.addEventListener("click",function(){
  var head=button.parentNode,body=head.closest("table").tBodies[0],k=head.cellIndex,
   up=head.getAttribute("aria-sort")!=="ascending",
   key=function(row){var cell=row.cells[k],v=cell.getAttribute("data-v");
    return v===null?cell.textContent:v===""?-Infinity:parseFloat(v)};
  Array.from(body.rows).sort(function(a,b){var x=key(a),y=key(b);
   return (x<y?-1:x>y?1:0)*(up?1:-1)}).forEach(function(row){body.appendChild(row)});
  head.parentNode.querySelectorAll("th").forEach(function(h){h.removeAttribute("aria-sort")});
  head.setAttribute("aria-sort",up?"ascending":"descending")})});
"""


def html(document: Document) -> str:
    """The whole page."""
    headings = [block.text for block in document.blocks if isinstance(block, Heading)]
    links = "".join(f'<a href="#{anchor(text)}">{escape(text)}</a>' for text in headings)
    body = "\n".join(block_html(block) for block in document.blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(document.title)}</title>\n"
        f"<style>{theme_css()}{CSS.replace('FONT', FONT)}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(document.title)}</h1>\n"
        f'<p class="subtitle">{escape(document.subtitle)}</p>\n<nav>{links}</nav>\n'
        f"{body}\n</main>\n<script>{JS}</script>\n</body>\n</html>\n"
    )


def anchor(text: str) -> str:
    """A heading's name within the page."""
    return "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")


def block_html(block: Block) -> str:
    """One block as HTML."""
    if isinstance(block, Heading):
        return f'<h2 id="{anchor(block.text)}">{escape(block.text)}</h2>'
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Cards):
        cards = (
            f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
            for value, what in block.items
        )
        return f'<div class="cards">{"".join(cards)}</div>'
    if isinstance(block, Figure):
        caption = f"<figcaption>{escape(block.caption)}</figcaption>"
        return f'<figure><div class="scroll">{svg(block.drawing)}</div>{caption}</figure>'
    return table_html(block)


def table_html(table: Table) -> str:
    """A table whose columns can be sorted; narrow ones become cards on a phone."""
    numeric = [
        any(row[k].number is not None for row in table.rows) for k in range(len(table.header))
    ]
    heads = "".join(
        f"<th{css('n' if right else '')}>"
        f'<button title="sort by this column">{escape(text)}</button></th>'
        for text, right in zip(table.header, numeric, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            cell_html(cell, text, right)
            for cell, text, right in zip(row, table.header, numeric, strict=True)
        )
        + "</tr>\n"
        for row in table.rows
    )
    kind = {"stack": "stack", "roomy": "stack roomy", "wide": "scroll wide"}[table.kind]
    return (
        f'<div class="{kind}"><table><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def cell_html(cell: Cell, head: str, numeric: bool) -> str:
    """One cell; data-v is what it is sorted by."""
    value = ""
    if numeric:
        value = f' data-v="{"" if cell.number is None else json.dumps(cell.number)}"'
    names = " ".join(filter(None, ("n" if numeric else "", cell.tone)))
    text = "<br>".join(map(escape, cell.text.split("\n")))
    note = f"<small>{escape(cell.note)}</small>" if cell.note else ""
    return f'<td{css(names)}{value} data-head="{escape(head)}">{text}{note}</td>'


def css(names: str) -> str:
    return f' class="{names}"' if names else ""
