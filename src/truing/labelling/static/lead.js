// The lead's page: a press of a step settles an item.
"use strict";

const trouble = document.getElementById("trouble");

async function settle(button) {
  const client = Array.from(crypto.getRandomValues(new Uint8Array(18)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const body = JSON.stringify({ client, item: Number(button.dataset.item), value: Number(button.dataset.value) });
  try {
    const answer = await fetch("/api/settle", { method: "POST", headers: { "content-type": "application/json" }, body });
    if (!answer.ok) throw new Error((await answer.json()).error);
    button.parentElement.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
    button.parentElement.querySelector("span").textContent = "Settled:";
    trouble.textContent = "";
  } catch (error) {
    trouble.textContent = `Not settled: ${error.message}`;
  }
}

document.querySelectorAll("[data-item]").forEach((button) => button.addEventListener("click", () => settle(button)));
