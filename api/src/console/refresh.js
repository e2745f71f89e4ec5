// The part of a page that is under way is asked for again while somebody sees it, and put in the place of the old one.
// Never: asks while the page is hidden, takes away what somebody is at (the keyboard, a selection, something opened), or goes on
// when the part says no more that it is under way.
"use strict";

const NAME = "under-way";
const part = () => document.getElementById(NAME);

function stale(isStale) {
    document.getElementById("stale")?.toggleAttribute("hidden", !isStale);
}

function isInUse(part) {
    const selected = document.getSelection();
    const reads = selected && !selected.isCollapsed && part.contains(selected.anchorNode);
    return document.hidden || reads || part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

function put(fresh) {
    const old = part();
    if (!fresh || isInUse(old)) return;
    const across = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    old.replaceWith(document.adoptNode(fresh));
    part().querySelectorAll(".scroll").forEach((box, at) => { box.scrollLeft = across[at] ?? 0; });
}

async function lookAgain() {
    if (!isInUse(part())) {
        try {
            const answer = await fetch(location.href, { headers: { "safelight-refresh": "1" }, redirect: "manual", cache: "no-store" });
            // The session ended: the door says so.
            if (answer.type === "opaqueredirect") return location.reload();
            stale(!answer.ok);
            if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(NAME));
        } catch {
            // Away for a moment, and whoever looks is told.
            stale(true);
        }
    }
    again();
}

function again() {
    const seconds = Number(part()?.dataset.refresh);
    if (seconds > 0) setTimeout(lookAgain, seconds * 1000);
}

again();
