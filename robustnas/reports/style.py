"""How the page looks: on a wide screen, on a phone, in print, light and dark."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2430; --soft: #5b6472; --line: #d9dee5; --tint: #f5f7f9;
  --blue: #0b62a8; --mark: #fff0b8; --shade: #08519c; --absent: #e3e6ea;
  --good: #14693c; --fair: #8a5300; --bad: #a8201a;
  --c0: #0072b2; --c1: #d55e00; --c2: #00805e; --c3: #c0559b; --c4: #3fa4db; --c5: #b98900; --c6: #777; --c7: #5b4fa0; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14181e; --ink: #e4e8ee; --soft: #9aa5b4;
  --line: #353d49; --tint: #1d232c; --blue: #7cc0f5; --mark: #5a4a12; --shade: #6cb6f2; --absent: #2a313b;
  --good: #1d7f4b; --fair: #9a6105; --bad: #bd3029;
  --c0: #5ab4ec; --c1: #ff9147; --c2: #3fc79c; --c3: #e58cc6; --c4: #9fd8f7; --c5: #e7bb3f;
  --c6: #aab; --c7: #a99df2; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 16px 20px 48px; }
h1 { font-size: 1.5rem; margin: .4rem 0 1rem; }
h2 { font-size: 1.35rem; margin: 2.2rem 0 .5rem; padding-top: .8rem; border-top: 3px solid var(--ink);
  overflow-wrap: anywhere; }
h1 + article h2 { margin-top: 0; }
h3 { font-size: 1.1rem; margin: 1.8rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
h4 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p { margin: .5rem 0; max-width: 75ch; overflow-wrap: anywhere; }
a { color: var(--blue); }
code, pre { font: .86em/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem;
  white-space: pre-wrap; }
pre i { color: var(--soft); }
details { margin: .6rem 0; } summary { cursor: pointer; }
.badge { display: inline-block; padding: .05em .7em; border-radius: 1em; color: #fff; font-size: .9rem;
  font-weight: 600; white-space: nowrap; vertical-align: middle; }
.healthy { background: var(--good); } .at-risk { background: var(--fair); } .collapsed { background: var(--bad); }
.missing, .note, figcaption, caption { color: var(--soft); }
.missing { border-left: 3px solid var(--line); padding-left: .7rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); gap: 8px; margin: 0; }
.facts div { background: var(--tint); border-radius: 6px; padding: .4rem .7rem; min-width: 0; }
.close { grid-template-columns: repeat(auto-fill, minmax(min(100%, 180px), 1fr)); }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .88rem; min-width: 100%; }
caption { text-align: left; font-size: .85rem; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 600; }
td { min-width: 3.5em; } .wide td:nth-child(n+4) { min-width: 24em; }
.wide mark, .wide span { white-space: nowrap; } .evidence td:nth-child(-n+5) { white-space: nowrap; }
.evidence td:nth-child(n+6) { min-width: 13em; }
.runs td, .runs th { white-space: nowrap; min-width: 0; padding-right: .55rem; }
mark { background: var(--mark); color: inherit; border-radius: 3px; }
figure { margin: 0; min-width: 0; } figcaption { font-size: .85rem; }
ul.legend, ul.film { list-style: none; margin: 0; padding: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 10px system-ui, sans-serif; fill: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 20px 24px; }
.charts.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.small svg text { font-size: 12px; } .small svg .said { font-size: 10.5px; }
.chart figcaption { color: var(--ink); font-weight: 600; overflow-wrap: anywhere; }
.legend li { display: inline-block; margin-right: 1em; font-size: .8rem; overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 14px; height: 0; border-top: 3px solid; margin-right: .4em;
  vertical-align: middle; }
.legend i.dashed { border-top-style: dashed; }
.grid { stroke: var(--line); stroke-width: .7; }
.mark { stroke: var(--soft); stroke-dasharray: 4 3; } svg .said { font-size: 9px; fill: var(--ink); }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; } .line.dashed { stroke-dasharray: 5 3; }
.dots { fill: none; stroke-width: 4.4; stroke-linecap: round; }
.whiskers { fill: none; stroke-width: 2.4; stroke-opacity: .45; }
.film { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 255px), 1fr)); gap: 8px 20px;
  margin: .5rem 0 1.2rem; }
.film li { break-inside: avoid; } .film svg { max-width: 360px; }
.film text { font-size: 8.5px; } .film .epoch { font-size: 9.5px; fill: var(--ink); font-weight: 600; }
.film .edge { font-size: 7px; }
.film .absent { fill: var(--absent); } .film .paper { fill: var(--paper); }
.best { fill: none; stroke: #e8590c; stroke-width: 4; stroke-linecap: round; }
.drawings { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 500px), 1fr)); gap: 12px 24px; }
.drawing .scroll { background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 6px; }
.drawing img { display: block; width: 100%; min-width: 520px; max-width: 760px; height: auto; }
.drawing.broad { grid-column: 1 / -1; } .broad img { min-width: 820px; max-width: 1100px; }
.missing code { white-space: nowrap; }
@media (max-width: 600px) { main { padding: 10px 12px 32px; } .legend li { font-size: .85rem; }
  .facts { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); } thead th { white-space: normal; } }
@media print { body { font-size: 10.5pt; } main { max-width: none; padding: 0; } a { color: inherit; }
  article + article { break-before: page; } h2, h3, h4, caption { break-after: avoid; }
  figure.chart, .drawing, tr, .facts div, pre { break-inside: avoid; } .scroll { overflow: visible; }
  .charts { grid-template-columns: repeat(2, 1fr); } .charts.small { grid-template-columns: repeat(3, 1fr); }
  .drawings { grid-template-columns: 1fr; } .drawing img, .broad img { min-width: 0; max-width: 100%; }
  table { font-size: 8pt; } td, .wide td:nth-child(n+4), .evidence td:nth-child(n+6) { min-width: 0; }
  .wide mark, .wide span, .runs td, .runs th { white-space: normal; } details { display: none; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""
STYLE += "".join(f".c{k} {{ stroke: var(--c{k}); }} .legend .c{k} {{ border-color: var(--c{k}); }}\n" for k in range(8))
STYLE += "".join(f".s{level} {{ fill: var(--shade); fill-opacity: {level / 16:g}; }}\n" for level in range(17))
