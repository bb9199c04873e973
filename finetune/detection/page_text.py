"""The text of the page about an evaluation: HTML, its style, the curve's frame."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.side { display: flex; flex-wrap: wrap; gap: 2.5rem; align-items: flex-start; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; }
tr + tr, tbody tr { border-top: 1px solid var(--line); } small { opacity: .7; }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 260px; } img { display: block; max-width: 100%; border-radius: 4px; }
figcaption { font-size: 12px; line-height: 1.35; padding-top: .3rem; overflow-wrap: anywhere; }
svg { width: 400px; max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.box { display: inline-block; width: .8em; height: .8em; border: 3px solid; vertical-align: -1px; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="side">
<table>
{summary}
</table>
<div>{curve}</div>
</div>
<p><small>Behind each share its 95 % bootstrap interval over pictures.</small></p>
<h2>By size of face</h2>
<table>
<thead><tr><th>size</th><th>faces</th><th>recall</th><th>average precision</th></tr></thead>
<tbody>
{sizes}
</tbody>
</table>
<p><small>small: below 32² pixels, medium: to 96², large: above.</small></p>
<h2>{missed_count}</h2>
<p><small>The largest first. <span class="box" style="color: {truth}"></span> marked by hand,
<span class="box" style="color: {found}"></span> found; with a white edge: the one that is meant.</small></p>
{missed}
<h2>{false_count}</h2>
<p><small>The surest first.</small></p>
{false}
</body>
</html>
"""

CURVE = """<svg viewBox="0 0 400 360" role="img" aria-label="precision over recall">
<path d="M60 20V320H360" fill="none" stroke="currentColor" opacity=".5"/>
<path d="M60 170H360M60 95H360M60 245H360M60 20H360M135 20V320M210 20V320M285 20V320M360 20V320" fill="none"
 stroke="currentColor" opacity=".12"/>
<text x="210" y="354" text-anchor="middle">recall</text>
<text x="20" y="174" text-anchor="middle" transform="rotate(-90 20 170)">precision</text>
<text x="54" y="324" text-anchor="end">0</text><text x="54" y="24" text-anchor="end">1</text>
<text x="54" y="174" text-anchor="end">0.5</text>
<text x="60" y="336" text-anchor="middle">0</text><text x="210" y="336" text-anchor="middle">0.5</text>
<text x="360" y="336" text-anchor="middle">1</text>
<polyline points="{points}" fill="none" stroke="#2b7bba" stroke-width="2"/>
<g fill="#d7301f">{mark}</g>
<text x="70" y="310" opacity=".8">overlap from {overlap:g}; the point: score from {threshold:g}</text>
</svg>"""
