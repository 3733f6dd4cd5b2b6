"use strict";
const link = document.getElementById("link");
const button = document.getElementById("copy");
if (link) {
  link.addEventListener("focus", () => link.select());
  button.hidden = false;
  button.addEventListener("click", async () => {
    link.focus();
    try {
      await navigator.clipboard.writeText(link.value);
    } catch {
      document.execCommand("copy"); // without HTTPS there is no clipboard to write to
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
