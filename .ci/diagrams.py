"""Draw docs/diagrams/*.mmd as SVG beside them: `python .ci/diagrams.py mermaid.min.js`.

A page that let its reader's browser draw would fetch the drawing program from somebody else's
server, and show nothing without a network. Needs playwright with a Chromium (`CHROMIUM`, default
/usr/bin/chromium), and mermaid 11's single file, for example out of the crate mdbook-mermaid.
"""

import hashlib
import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PLACE = Path(__file__).parent.parent / "docs" / "diagrams"
DRAW = """async ([name, text]) => {
    const sequence = {wrap: true, width: 110, actorMargin: 60}; // fits the width of a page
    mermaid.initialize({startOnLoad: false, fontFamily: "sans-serif", sequence});
    return (await mermaid.render(name, text)).svg;
}"""


def main() -> None:
    """Draw each, white behind it: so it reads on a dark page too."""
    with sync_playwright() as playwright:
        where = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("<!doctype html><body>")
        page.add_script_tag(path=sys.argv[1])
        for source in sorted(PLACE.glob("*.mmd")):
            text = source.read_text()
            drawn = page.evaluate(DRAW, [f"diagram-{source.stem}", text])
            drawn = drawn.replace('style="', 'style="background-color: white; ', 1)
            made_of = hashlib.sha256(text.encode()).hexdigest()
            source.with_suffix(".svg").write_text(f"<!-- {made_of} -->\n{drawn}\n")
        browser.close()


if __name__ == "__main__":
    main()
