// Drives the page in Chromium: node drive.js URL PICTURES PROFILE. The last line it prints is what it saw, as JSON.
"use strict";
const http = require("node:http");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [url, pictures, profile] = process.argv.slice(2);
const own = new URL(url).origin;
const options = {
  executablePath: "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1280, height: 860 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
};

/** Another page of this host, which does to ours what it can: a form and a script, with the browser's cookie. */
async function foreign(context, request) {
  const body = JSON.stringify({ id: request.id, digest: request.digest, reply: { approve: {} } });
  const html = `<!doctype html><iframe name="in"></iframe>
    <form id="f" method="post" action="${own}/answer" enctype="text/plain" target="in"><input name='${body.slice(0, -1)},"x":"' value='"}'></form>`;
  const server = http.createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(html));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const posted = page.waitForResponse((response) => response.url() === own + "/answer" && response.request().method() === "POST");
  await page.evaluate(() => document.getElementById("f").submit());
  const form = (await posted).status();
  // Its script may not even see an answer; 0.
  const script = await page.evaluate(async ([to, sent]) => {
    const headers = { "content-type": "application/json", "x-bot-bottle-key": "0" };
    return fetch(to, { method: "POST", credentials: "include", headers, body: sent }).then((r) => r.status, () => 0);
  }, [own + "/answer", body]);
  await page.close();
  server.close();
  return [script, form];
}

(async () => {
  const seen = { violations: [] };
  const context = await chromium.launchPersistentContext(profile, options);
  const page = context.pages()[0] || await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" && !/favicon/.test(message.text() + message.location().url)) seen.violations.push(message.text());
  });
  page.on("pageerror", (error) => seen.violations.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(own)) seen.violations.push("asked for " + request.url()); });
  await page.goto(url);
  const card = (kind) => page.locator("#requests .card", { has: page.locator(".chip", { hasText: new RegExp("^" + kind + "$") }) });
  await card("push").waitFor();
  await card("host").waitFor();
  await card("question").waitFor();
  await page.locator("#decisions li").first().waitFor();
  seen.title = await page.title();
  // What the agent wrote is text.
  seen.markup = await page.locator("main img, main script, main iframe").count();
  await page.screenshot({ path: path.join(pictures, "desktop.png") });
  await page.setViewportSize({ width: 375, height: 740 });
  await page.screenshot({ path: path.join(pictures, "phone.png") });
  seen.overflow = await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - 375));
  // Another page, while ours is open.
  const id = await card("host").getAttribute("data-id");
  seen.foreign = await foreign(context, { id, digest: "0".repeat(64) });
  seen.afterForeign = await page.locator("#requests .card").count();
  // On the telephone: less, and for ten minutes.
  await card("host").getByLabel("POST").uncheck();
  await card("host").getByLabel("Only these paths").fill("/docs/**");
  await card("host").getByLabel("For how long").selectOption({ label: "10 minutes" });
  await card("host").scrollIntoViewIfNeeded();
  await page.screenshot({ path: path.join(pictures, "phone-answer.png") });
  await card("host").getByRole("button", { name: "Approve" }).click();
  await card("host").waitFor({ state: "detached" });
  // At the desk; what is under way when a bottle is frozen breaks off, so the push comes first.
  await page.setViewportSize({ width: 1280, height: 860 });
  await card("push").getByRole("button", { name: "Approve" }).click();
  await card("push").waitFor({ state: "detached" });
  await page.locator("#decisions li", { hasText: "approved by the operator" }).first().waitFor();
  // Frozen and thawed; the first press only asks.
  await page.locator("#bottles .card button").click();
  await page.getByRole("button", { name: "Freeze it?" }).click();
  await page.locator("#bottles .chip", { hasText: "frozen" }).waitFor();
  seen.frozen = true;
  await page.getByRole("button", { name: "Thaw" }).click();
  await page.locator("#bottles .chip", { hasText: "running" }).waitFor();
  await page.reload();
  await card("question").waitFor();
  seen.reloaded = true;
  await card("question").getByLabel("next").check();
  await card("question").getByRole("button", { name: "Answer" }).click();
  await card("question").waitFor({ state: "detached" });
  seen.left = await page.locator("#requests .card").count();
  await context.close();
  console.log(JSON.stringify(seen));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
