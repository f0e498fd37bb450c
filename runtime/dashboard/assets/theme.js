// The choice between light and dark, made before the page is drawn.
(() => {
  let theme = null;
  try { theme = localStorage.getItem("flowc-theme"); } catch { /* storage is not allowed */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
