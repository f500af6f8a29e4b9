// Runs before the first paint, so that a chosen theme never flashes the other one. In a file of its own because the
// Content-Security-Policy allows no inline script.
(() => {
  try {
    const chosen = localStorage.getItem('theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be blocked: the system's theme holds then.
  }
})();
