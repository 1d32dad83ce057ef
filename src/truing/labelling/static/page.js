// The page's side of it: shows an item, sends a judgement, and keeps it until the server has said that it is saved.
"use strict";

const $ = (id) => document.getElementById(id);
const FILE = document.body.dataset.file; // of labels: another one may be served at this address by now
const PENDING = `truing-label-pending-${FILE}`;
const buttons = document.querySelectorAll("footer button");
const flag = document.querySelector("[data-action=flag]");
let item = null;
let shownAt = 0;
let isBusy = false;
let last = null; // how far the work was when it was last told

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(18)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function tell(trouble) {
  if ($("trouble").textContent !== trouble) $("trouble").textContent = trouble;
}

async function ask(path, body) {
  const post = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const headers = { "content-type": "application/json", "truing-labels": FILE };
  const answer = await fetch(path, { ...post, headers, signal: AbortSignal.timeout(20000) });
  const text = await answer.text();
  try {
    return { status: answer.status, told: JSON.parse(text) };
  } catch {
    return { status: answer.status, told: { error: text } };
  }
}

// Asks until the server has an answer to it, however often it is started again meanwhile.
async function insist(path, body) {
  for (let wait = 200; ; wait = Math.min(2 * wait, 5000)) {
    try {
      const answer = await ask(path, body);
      if (answer.status < 500) return answer;
      tell(answer.told.error);
    } catch {
      const kept = "What you judged is kept in this browser and sent until it does.";
      tell(`The server does not answer. ${body ? kept : "It may have ended; all that you judged is saved."}`);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function go(path, body) {
  isBusy = true;
  buttons.forEach((button) => button.setAttribute("aria-disabled", "true"));
  if (body) localStorage.setItem(PENDING, JSON.stringify({ path, body }));
  const { status, told } = await insist(path, body);
  if (body && status !== 401) localStorage.removeItem(PENDING);
  isBusy = false;
  enable();
  if (status === 200) show(told);
  else if (body && status !== 401) await go("/api/next");
  tell(status === 200 ? "" : told.error);
}

// What can be pressed: where nothing is left to judge, what was judged last can still be taken back.
function enable() {
  buttons.forEach((button) => {
    if (item || button.dataset.action === "undo") button.removeAttribute("aria-disabled");
    else button.setAttribute("aria-disabled", "true");
  });
}

function show({ item: next, progress }) {
  item = next;
  enable();
  last = progress;
  hint(false);
  shownAt = performance.now();
  $("work").hidden = !item;
  $("done").hidden = Boolean(item);
  choose(false);
  flag.setAttribute("aria-pressed", String(Boolean(item?.flagged)));
  $("comment").value = item?.comment ?? "";
  if (item) {
    $("prompt").innerHTML = item.prompt; // Markdown without HTML in it, made on the server; the page's policy runs nothing
    document.querySelectorAll(".answer").forEach((place, side) => (place.innerHTML = item.answers[side]));
  }
  $("bar").max = Math.max(progress.total, 1);
  $("bar").value = progress.done;
  $("progress").textContent = `${progress.own} by you, ${progress.done} of ${progress.total} in all${item ? left(progress) : ""}`;
  (item ? $("title") : $("done")).focus();
  window.scrollTo(0, 0);
}

// Whether there is more by now for who has judged all that there was.
function hint(isMore) {
  $("rest").textContent = isMore ? "There is more to judge now." : "There is nothing more for you to judge. Thank you.";
  document.title = isMore ? "● Judging answers" : "Judging answers";
}

function left({ seconds_left: seconds }) {
  if (!seconds) return "";
  return seconds < 90 ? ", about a minute left" : `, about ${Math.round(seconds / 60)} minutes left`;
}

// Whether reasons to skip are shown, in the place of the steps.
function choose(isReason) {
  $("reasons").hidden = !isReason;
  $("votes").hidden = isReason;
}

function vote(kind, more) {
  if (!item) return;
  const seconds = Math.min((performance.now() - shownAt) / 1000, 86400);
  const flagged = flag.getAttribute("aria-pressed") === "true";
  const comment = $("comment").value || null;
  go("/api/vote", { client: newId(), assignment: item.assignment, kind, flagged, comment, seconds, ...more });
}

const ACTIONS = {
  vote: (button) => vote("vote", { value: Number(button.dataset.value) }),
  "both-bad": () => vote("both-bad"),
  skip: () => item && (choose(true), $("reasons").querySelector("button").focus()),
  reason: (button) => vote("skip", { reason: button.querySelector("span").textContent }),
  stay: () => (choose(false), $("title").focus()),
  flag: () => flag.setAttribute("aria-pressed", String(flag.getAttribute("aria-pressed") !== "true")),
  undo: () => go("/api/undo", { client: newId() }),
};

buttons.forEach((button) => button.addEventListener("click", () => isBusy || ACTIONS[button.dataset.action](button)));

document.addEventListener("keydown", (event) => {
  if (event.target === $("comment")) return void (event.key === "Escape" && $("title").focus());
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !$("keys").checked) return;
  if (event.key === "c" && item) return void (event.preventDefault(), $("comment").focus());
  const open = $($("reasons").hidden ? "votes" : "reasons");
  open.querySelector(`[data-key="${CSS.escape(event.key)}"]`)?.click();
});

$("more").addEventListener("click", () => isBusy || go("/api/next"));

// What comes later, as from a run that asks again, is told and not taken: who has left the page open is given nothing.
setInterval(async () => {
  if (item || isBusy || !last) return;
  const { status, told } = await ask("/api/progress").catch(() => ({}));
  if (status !== 200 || item) return;
  if (told.total - told.done > last.total - last.done) hint(true);
  last = told;
}, 15000);

const guidelines = document.querySelector("aside details");
if (guidelines && matchMedia("(max-width: 48rem)").matches) guidelines.open = false;

const pending = JSON.parse(localStorage.getItem(PENDING) || "null");
if (pending) go(pending.path, pending.body);
else go("/api/next");
