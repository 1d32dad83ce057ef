"use strict";
// Orders, filters and shades the answers before and after, which are all on the page; text is only ever set as text.
(() => {
  const PAGE = 20; // exchanges at once
  const FULL = 2; // nats at which a word has its full shade
  const controls = document.querySelector(".controls");
  const list = document.querySelector(".exchanges");
  const [order, policy, search, shading] = ["order", "policy", "search", "shading"].map((name) =>
    controls.querySelector(`[name=${name}]`));
  const all = Array.from(list.children, (element) => ({
    element,
    text: Array.from(element.querySelectorAll(".prompt, .said"), (part) => part.textContent).join("\n").toLowerCase(),
    responses: Array.from(element.querySelectorAll(".response[data-series]")),
  }));
  let page = 0;

  // A response's number, or nothing where it was not measured.
  function number(exchange, name) {
    const series = policy ? policy.value : "0";
    const own = exchange.responses.find((response) => response.dataset.series === series);
    return own && name in own.dataset ? Number(own.dataset[name]) : undefined;
  }

  // Largest first, and what has no number last; equal ones by how much their score gained.
  function inOrder(exchanges) {
    const sign = order.value.startsWith("-") ? -1 : 1;
    const name = order.value.replace("-", "");
    if (!name) return exchanges;
    const keys = new Map(exchanges.map((each) => [each, [number(each, name), number(each, "gain")]]));
    const compare = (one, other) => (one === other ? 0 : one === undefined ? 1 : other === undefined ? -1 : other - one);
    return [...exchanges].sort((one, other) => {
      const [[first, gain], [second, otherGain]] = [keys.get(one), keys.get(other)];
      const known = first !== undefined && second !== undefined;
      return compare(first, second) * (known ? sign : 1) || compare(gain, otherGain);
    });
  }

  // Words as spans, each with its log-ratio; the token that ends a response is a mark of its own.
  function shade(said) {
    const tokens = said.dataset.tokens.split(" ").map(Number);
    const characters = Array.from(said.textContent);
    const parts = [];
    let place = 0;
    for (let i = 0; i < tokens.length; i += 2) {
      const [length, nats] = [tokens[i], tokens[i + 1]];
      const part = document.createElement("span");
      part.textContent = characters.slice(place, place + length).join("");
      if (!length) part.className = "end";
      part.style.setProperty("--share", `${Math.min(Math.abs(nats) / FULL, 1) * 100}%`);
      part.classList.add(nats < 0 ? "less" : "more");
      part.title = `log-ratio to the reference: ${nats} nats`;
      parts.push(part);
      place += length;
    }
    said.replaceChildren(...parts, characters.slice(place).join(""));
    delete said.dataset.tokens;
  }

  function show() {
    const wanted = search.value.trim().toLowerCase();
    const found = inOrder(all.filter((exchange) => exchange.text.includes(wanted)));
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    page = Math.min(Math.max(page, 0), pages - 1);
    const shown = found.slice(page * PAGE, (page + 1) * PAGE);
    list.replaceChildren(...shown.map((exchange) => exchange.element));
    list.querySelectorAll(".said[data-tokens]").forEach(shade);
    list.classList.toggle("shaded", shading.checked);
    const first = shown.length ? page * PAGE + 1 : 0;
    controls.querySelector("output").textContent =
      `${first} to ${page * PAGE + shown.length} of ${found.length.toLocaleString("en")}`;
    controls.querySelectorAll("button").forEach((button) => {
      const to = page + Number(button.value);
      button.disabled = to < 0 || to >= pages;
    });
  }

  controls.addEventListener("input", () => { page = 0; show(); });
  controls.querySelectorAll("button").forEach((button) =>
    button.addEventListener("click", () => { page += Number(button.value); show(); }));
  shading.closest("label").hidden = !list.querySelector("[data-tokens]");
  controls.hidden = false;
  show();
})();
