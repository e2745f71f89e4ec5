// One chapter of an operator's walk through the console, in Debian's Chromium. `walk.mjs CHAPTER`; tests/browser/walk.rs says what
// has happened before each. Looks at what is on the page as a person does: by names and labels.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const { CONSOLE, OPERATOR, READER, GIVEN, CHROMIUM = "/usr/bin/chromium", PICTURES } = process.env;
const given = JSON.parse(GIVEN ?? "{}");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DESK = { width: 1280, height: 900 }, PHONE = { width: 390, height: 844 };
const PAGES = ["", "/queues", "/jobs", "/dead", "/orders", "/orders/late", "/deletions", "/cases", "/sweeps", "/findings", "/policies", "/providers", "/controls", "/schedules",
    "/workers", "/audit", "/tokens", "/bulk"];

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });

/** A signed-in page of its own. */
async function signedIn(token = OPERATOR, options = {}) {
    const context = await browser.newContext({ viewport: DESK, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    await page.goto(`${CONSOLE}/console`);
    await page.getByLabel("Token with the scope").fill(token);
    await page.getByLabel("What for").fill("on call, a walk");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    return page;
}

/** Open a form behind a button, say why, and send it. */
async function act(page, button, why) {
    const form = page.locator("details.act", { has: page.locator("summary").and(page.getByText(button, { exact: true })) }).first();
    await form.locator("summary").click();
    await form.getByLabel("Why").fill(why);
    await form.getByRole("button").click();
    await page.getByRole("status").waitFor();
}

/** With the keyboard alone, to what has this name. */
async function tabTo(page, name) {
    for (let presses = 0; presses < 150; presses++) {
        await page.keyboard.press("Tab");
        const at = await page.evaluate(() => {
            const at = document.activeElement;
            return at?.ariaLabel ?? (at?.labels?.[0] ?? at)?.innerText ?? "";
        });
        if (at.trim().startsWith(name)) return;
    }
    assert.fail(`no key leads to ${name} on ${page.url()}`);
}

const body = (page) => page.locator("main").innerText();
async function says(page, ...words) {
    const text = await body(page);
    for (const word of words) assert.match(text, word instanceof RegExp ? word : new RegExp(word), `${page.url()} lacks ${word}:\n${text}`);
}

const chapters = {
    async finds_the_stuck_order_and_sees_why() {
        const page = await signedIn();
        await page.getByRole("link", { name: "Orders", exact: true }).click();
        await page.getByRole("link", { name: given.order }).click();
        await says(page, "Why it waits", "fal without money");
    },
    async repairs_it() {
        const page = await signedIn();
        await page.goto(`${CONSOLE}/console/orders/${given.order}`);
        await page.locator(".why a.id").first().click();
        await says(page, "fal without money");
        await act(page, "Retry now", "the account was topped up");
        await says(page, "Done: retried", "in line", "the account was topped up");
    },
    async watches_it_finish() {
        const page = await signedIn();
        await page.getByLabel("Id of a job").fill(given.order);
        await page.getByRole("button", { name: "Open" }).click();
        await says(page, /^.*delivered/s, "Timeline");
        assert.doesNotMatch(await body(page), /Why it waits/);
    },
    async pauses_a_provider() {
        const page = await signedIn();
        await page.getByRole("link", { name: "Providers" }).click();
        await act(page, "Pause", "their status page says outage");
        await says(page, "Done: paused", "by ops_1: their status page says outage");
        await page.getByRole("link", { name: "Overview" }).click();
        await says(page, "This needs a look", "pauses and open breakers");
    },
    async sees_what_waits_and_resumes() {
        const page = await signedIn();
        await page.goto(`${CONSOLE}/console/orders/${given.order}`);
        await says(page, "Why it waits", "fal is paused by ops_1: their status page says outage");
        await page.getByRole("link", { name: "Providers" }).click();
        await says(page, /[1-9]\d* set aside until there is room/);
        await act(page, "Resume", "it is over");
        await says(page, "Done: resumed");
    },
    async sees_what_a_deletion_waits_for() {
        const page = await signedIn();
        await page.getByRole("link", { name: "Deletions" }).click();
        await page.getByRole("link", { name: given.deletion }).click();
        await says(page, "legal deadline", "Its job", "late writers");
    },
    async follows_it_to_its_certificate() {
        const page = await signedIn();
        await page.goto(`${CONSOLE}/console/deletions/${given.deletion}`);
        await says(page, /complete/, "verified");
        await page.getByRole("link", { name: "Read or print" }).click();
        const text = await page.locator("body").innerText();
        assert.match(text, /certificate/i);
        assert.ok(text.replaceAll("-", "").includes(given.deletion.replace("deletion_", "")), "it names the deletion");
    },
    async previews_and_asks_for_a_retry_of_all() {
        const page = await signedIn();
        await page.getByRole("link", { name: "Dead letters" }).first().click();
        await says(page, String(given.number), "send notice", "mail_refused");
        await page.getByRole("link", { name: /Look at them/ }).click();
        await page.getByLabel("Act on all that match").selectOption("retry");
        await page.getByRole("button", { name: "Preview" }).click();
        await says(page, `Retry ${given.number} jobs`, "The newest of them");
        assert.equal(await page.locator("tbody tr").count(), 20);
        await page.getByLabel("Why").fill("the mail provider is well");
        await page.getByRole("button", { name: `Retry ${given.number} jobs` }).click();
        await says(page, "under way", `0 of ${given.number}`, "the mail provider is well");
        return { act: new URL(page.url()).pathname };
    },
    async sees_its_progress() {
        // Without scripts, by looking again.
        const page = await signedIn(OPERATOR, { javaScriptEnabled: false });
        await page.goto(`${CONSOLE}${given.act}`);
        await page.getByRole("link", { name: "Look again" }).click();
        await says(page, "under way", /[1-9]\d* of 5000/);
    },
    async sees_a_page_show_itself_again() {
        const page = await signedIn();
        const complaints = [];
        page.on("console", (said) => { if (said.type() === "error") complaints.push(said.text()); });
        await page.goto(`${CONSOLE}${given.act}`);
        await page.evaluate(() => { globalThis.opened = "once"; });
        const job = await page.locator("dl.facts a.id").getAttribute("href");
        const other = await page.context().newPage();
        other.setDefaultTimeout(10_000);
        const acts = async (what, why) => {
            await other.goto(`${CONSOLE}${job}`);
            await act(other, what, why);
        };
        const shown = (word, is) => page.waitForFunction(([word, is]) =>
            document.getElementById("under-way").innerText.includes(word) === is, [word, is], { timeout: 15_000 });
        const at = () => page.evaluate(() => document.activeElement.innerText);
        const leave = page.getByRole("button", { name: "Sign out" });
        await leave.focus();
        await acts("Hold", "until somebody has looked");
        await shown("until somebody releases it", true);
        assert.equal(await at(), "Sign out", "the keyboard stays where it was");
        // What somebody is at stays until they leave it.
        await page.getByRole("link", { name: "Look again" }).focus();
        await acts("Release", "somebody has");
        await page.waitForTimeout(8_000);
        await shown("until somebody releases it", true);
        assert.equal(await at(), "Look again", "and is not taken away");
        await leave.focus();
        await shown("until somebody releases it", false);
        assert.equal(await page.evaluate(() => globalThis.opened), "once", "it was opened once");
        assert.deepEqual(complaints, []);
    },
    async sees_that_it_is_done() {
        const page = await signedIn();
        await page.getByRole("link", { name: "Jobs", exact: true }).click();
        await page.getByRole("link", { name: "Acts on many jobs" }).click();
        await page.locator("tbody a.id").first().click();
        await says(page, "done", "5000 of 5000");
        await page.getByRole("link", { name: "Audit" }).click();
        await says(page, "jobs bulk", "the mail provider is well");
    },
    async holds_a_job_with_the_keyboard_alone() {
        const page = await (await browser.newContext({ viewport: DESK })).newPage();
        page.setDefaultTimeout(10_000);
        await page.goto(`${CONSOLE}/console`);
        await tabTo(page, "Token with the scope");
        await page.keyboard.type(OPERATOR);
        await tabTo(page, "What for");
        await page.keyboard.type("on call, no mouse");
        await page.keyboard.press("Enter");
        await page.getByRole("heading", { name: "Overview" }).waitFor();
        await tabTo(page, "Id of a job");
        await page.keyboard.type(given.job);
        await page.keyboard.press("Enter");
        await page.waitForURL(/console\/jobs\/job_/);
        await tabTo(page, "Skip to the content");
        await page.keyboard.press("Enter");
        await tabTo(page, "Hold");
        await page.keyboard.press("Enter");
        await tabTo(page, "Why");
        await page.keyboard.type("until the mail provider is well");
        await page.keyboard.press("Enter");
        await page.getByRole("status").waitFor();
        await says(page, "Done: held", "until the mail provider is well");
    },
    async is_refused_as_read_only() {
        const page = await signedIn(READER);
        await says(page, "Overview");
        assert.match(await page.locator("header.bar").innerText(), /read only/);
        for (const path of [...PAGES, `/jobs/${given.job}`, "/jobs?state=ready"]) {
            await page.goto(`${CONSOLE}/console${path}`);
            assert.equal(await page.locator('input[name="csrf"]').count(), 0, `${path} has a form that acts`);
        }
        const answer = await page.request.post(`${CONSOLE}/console/jobs/${given.job}/cancel`, { form: { why: "let me", csrf: "" } });
        assert.equal(answer.status(), 403);
        const preview = await page.goto(`${CONSOLE}/console/bulk/preview?act=cancel&kind=send_notice`);
        assert.equal(preview.status(), 403);
        await says(page, "scope_missing");
    },
    async keeps_a_link_through_the_sign_in_and_finds_the_way_back() {
        const link = `${CONSOLE}/console/jobs/${given.job}`;
        const page = await (await browser.newContext({ viewport: PHONE })).newPage();
        page.setDefaultTimeout(10_000);
        const enters = async () => {
            await page.getByLabel("Token with the scope").fill(OPERATOR);
            await page.getByLabel("What for").fill("on call, an alert");
            await page.getByRole("button", { name: "Sign in" }).click();
        };
        await page.goto(link);
        await page.getByLabel("Token with the scope").fill("slt_nothing");
        await page.getByLabel("What for").fill("on call, an alert");
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.getByRole("alert").waitFor();
        assert.equal(await page.getByLabel("What for").inputValue(), "on call, an alert");
        assert.equal(await page.getByLabel("Token with the scope").inputValue(), "");
        await enters();
        await page.waitForURL(link);
        // From a page of another site: signed in already, and the browser kept the cookie back.
        const chat = await page.context().newPage();
        await chat.goto(`data:text/html,<a href="${link}">an alert</a>`);
        await chat.getByRole("link", { name: "an alert" }).click();
        await chat.getByRole("link", { name: "Go on to the page" }).click();
        await chat.waitForURL(link);
        await chat.close();
        // A wrong id leads back to where it was typed.
        await page.getByLabel("Id of a job").fill("mail_refused");
        await page.getByRole("button", { name: "Open", exact: true }).click();
        await says(page, "bad_id");
        await page.getByRole("link", { name: "Back to where you came from" }).click();
        await page.waitForURL(link);
        // A form that comes too late.
        await page.locator("details.act summary").first().click();
        await page.context().clearCookies();
        const form = page.locator("details.act[open]");
        await form.getByLabel("Why").fill("too late");
        await form.getByRole("button").click();
        await says(page, "Your session had ended; nothing was done");
        await enters();
        await page.waitForURL(link);
        assert.doesNotMatch(await body(page), /too late/);
        // A bare id in quotes, pasted from somewhere.
        await page.goto(`${CONSOLE}/console/queues`);
        await page.getByLabel("Id of a job").fill(` "${given.job.replace("job_", "")}", `);
        await page.keyboard.press("Enter");
        await page.waitForURL(link);
        // A day and a time are seen whole.
        await page.goto(`${CONSOLE}/console/jobs`);
        for (const field of await page.locator('input[type="datetime-local"]').all()) {
            const box = await field.boundingBox();
            assert.ok(box.width >= 220, `${box.width} pixels for a day and a time`);
        }
    },
    async opens_a_case() {
        // Without scripts.
        const page = await signedIn(OPERATOR, { javaScriptEnabled: false });
        await page.getByRole("link", { name: "Cases", exact: true }).click();
        const form = page.locator("details.act", { has: page.locator("summary").and(page.getByText("Open a case", { exact: true })) });
        await form.locator("summary").click();
        await form.getByLabel("What is asked for").selectOption("access");
        await form.getByLabel("Of which tenant").selectOption("koselfie");
        await form.getByLabel("How it came").selectOption("letter");
        await form.getByLabel("Why").fill("a letter of today");
        await form.getByRole("button").click();
        await says(page, "Done: case opened", "access", "somebody who verifies who it is");
        assert.equal(await page.locator("td code").filter({ hasText: "case_" }).count(), 1);
    },
    async finds_nothing_serious_on_any_page() {
        const more = [`/orders/${given.order}`, `/deletions/${given.deletion}`, `/jobs/${given.job}`, "/jobs?kind=send_notice",
            "/bulk/preview?act=hold&kind=send_notice", "/cases?all=1", `/subjects/${given.subject}`];
        const found = [];
        for (const [scheme, viewport] of [["dark", DESK], ["light", DESK], ["dark", PHONE], ["light", PHONE]]) {
            const page = await signedIn(OPERATOR, { colorScheme: scheme, viewport });
            const size = viewport === PHONE ? "phone" : "desk";
            for (const path of [...PAGES, ...more, "sign-in"]) {
                const answer = await page.goto(path === "sign-in" ? `${CONSOLE}/console/sign-in` : `${CONSOLE}/console${path}`);
                assert.equal(answer.status(), 200, path);
                // With one form open: what is folded up is looked at, too.
                const group = page.locator("details.fold > summary").first();
                if (await group.count()) await group.click();
                const fold = page.locator("details.act summary").first();
                if (await fold.count()) await fold.click();
                await page.evaluate(axe);
                const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
                for (const one of result.violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
                    found.push(`${path} ${scheme} ${size}: ${one.id}: ${one.nodes.map((node) => node.target.join(" ")).slice(0, 3).join("; ")}`);
                }
                const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
                if (wide > 0) found.push(`${path} ${scheme} ${size}: ${wide} pixels wider than the window`);
                if (PICTURES) {
                    if (await fold.count()) await fold.click();
                    mkdirSync(PICTURES, { recursive: true });
                    const name = path === "" ? "overview" : path.replace(/^\//, "").replace(/[_=?&/]/g, "-").replace(/-[0-9a-f]{32}/, "");
                    await page.screenshot({ path: `${PICTURES}/${name}-${scheme}-${size}.png`, fullPage: true });
                }
            }
            await page.context().close();
        }
        assert.deepEqual(found, []);
    },
};

try {
    const chapter = chapters[process.argv[2]];
    assert.ok(chapter, `there is no chapter ${process.argv[2]}`);
    console.log(JSON.stringify((await chapter()) ?? "well"));
} finally {
    await browser.close();
}
