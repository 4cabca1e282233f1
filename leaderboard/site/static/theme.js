// Loaded before the page is drawn, so that a chosen theme does not flash; without a choice the system's holds.
"use strict";
(() => {
  const root = document.documentElement;
  const key = "itprobe-theme";
  const stored = () => {
    try { return localStorage.getItem(key); } catch { return null; }
  };
  const apply = (theme) => {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  };
  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    const show = () => button.setAttribute("aria-pressed", String(dark()));
    button.hidden = false;
    show();
    system.addEventListener("change", show);
    button.addEventListener("click", () => {
      const next = dark() ? "light" : "dark";
      apply(next);
      try { localStorage.setItem(key, next); } catch { /* it holds for this page only */ }
      show();
    });
  });
})();
