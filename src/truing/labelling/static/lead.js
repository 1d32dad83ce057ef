// The lead's page: a press of a step settles an item, another withdraws it or takes that back.
"use strict";

const trouble = document.getElementById("trouble");

async function send(path, values, done) {
  const client = Array.from(crypto.getRandomValues(new Uint8Array(18)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const body = JSON.stringify({ client, ...values });
  try {
    const headers = { "content-type": "application/json", "truing-labels": document.body.dataset.file };
    const answer = await fetch(path, { method: "POST", headers, body });
    if (!answer.ok) throw new Error((await answer.json()).error);
    done();
    trouble.textContent = "";
  } catch (error) {
    trouble.textContent = `Not saved: ${error.message}`;
  }
}

function settle(button) {
  send("/api/settle", { item: Number(button.dataset.item), value: Number(button.dataset.value) }, () => {
    button.parentElement.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
    button.parentElement.querySelector("span").textContent = "Settled:";
  });
}

function withdraw(button) {
  const isBack = button.getAttribute("aria-pressed") === "true";
  send("/api/withdraw", { item: Number(button.dataset.withdraw), is_back: isBack }, () => {
    button.setAttribute("aria-pressed", String(!isBack));
    button.closest("section").classList.toggle("settled", !isBack);
  });
}

document.querySelectorAll("[data-item]").forEach((button) => button.addEventListener("click", () => settle(button)));
document.querySelectorAll("[data-withdraw]").forEach((button) => button.addEventListener("click", () => withdraw(button)));
