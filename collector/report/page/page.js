// The search field of the HTML report; without it the page has none.
// SPDX-License-Identifier: GPL-2.0-or-later
"use strict";
(() => {
  const box = document.querySelector(".search");
  const input = box.querySelector("input");
  const output = box.querySelector("output");
  const items = [...document.querySelectorAll("[data-find]")]
    .map((item) => [item, item.textContent.toLowerCase()]);
  const sections = [...document.querySelectorAll("section")];
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const [item, text] of items) {
      item.hidden = !words.every((word) => text.includes(word));
      found += !item.hidden;
    }
    for (const section of sections) {
      const parts = [...section.querySelectorAll("[data-find]")];
      section.hidden = parts.length > 0 && parts.every((part) => part.hidden);
    }
    output.value = words.length ? `${found} of ${items.length}` : "All of it is shown.";
  };
  input.addEventListener("input", show);
  box.hidden = false;
  // What is printed is unfolded, and folded again behind that.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.slice(0, 200).forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => {
    folded.forEach((part) => { part.open = false; });
  });
})();
