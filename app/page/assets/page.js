() => {
  // The visitor's own choice of light or dark wins over the system's, and survives a reload.
  let stored = null;
  try { stored = localStorage.getItem("studio-scheme"); } catch { /* private windows may refuse storage */ }
  if (stored) document.body.classList.toggle("dark", stored === "dark");
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#scheme-toggle")) {
      const dark = document.body.classList.toggle("dark");
      try { localStorage.setItem("studio-scheme", dark ? "dark" : "light"); } catch { /* see above */ }
    }
  });
}
