() => {
  // The visitor's own choice of light or dark wins over the system's, and survives a reload. An address that names a
  // theme wins over both.
  const named = new URL(location.href).searchParams.has("__theme");
  let stored = null;
  try { stored = localStorage.getItem("studio-scheme"); } catch { /* private windows may refuse storage */ }
  if (stored && !named) document.body.classList.toggle("dark", stored === "dark");
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const more = event.target.closest(".more-names");
    more?.setAttribute("aria-expanded", String(more.getAttribute("aria-expanded") !== "true"));
    if (event.target.closest("#scheme-toggle")) {
      const dark = document.body.classList.toggle("dark");
      try { localStorage.setItem("studio-scheme", dark ? "dark" : "light"); } catch { /* see above */ }
    }
  });

  // On a phone the results are below the form: bring them into view the moment a run starts, whatever started it.
  const running = new WeakSet();
  const goToRuns = () => {
    for (const stage of document.querySelectorAll(".stage")) {
      const runs = stage.offsetParent !== null && stage.querySelector(".progress") !== null;
      if (runs && !running.has(stage) && innerWidth < 760) stage.scrollIntoView();
      if (runs) running.add(stage);
      else if (stage.offsetParent !== null) running.delete(stage);
    }
  };

  new MutationObserver(goToRuns).observe(document.body, { childList: true, subtree: true });

  // The row of tabs scrolls where it does not fit: the open one is in view, and a fading edge says that there is more.
  const row = () => document.querySelector(".tab-container.wrap");
  const edge = () => {
    const tabs = row();
    if (tabs) tabs.dataset.more = String(tabs.scrollLeft + tabs.clientWidth < tabs.scrollWidth - 4);
  };
  const inView = () => {
    const tabs = row(), open = tabs?.querySelector("[aria-selected=true]");
    if (open) tabs.scrollLeft = open.offsetLeft - (tabs.clientWidth - open.offsetWidth) / 2;
    edge();
  };
  document.addEventListener("scroll", (event) => { if (event.target === row()) edge(); }, true);
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("[role=tab]")) requestAnimationFrame(inView);
  });
  addEventListener("resize", inView);
  setTimeout(inView, 300);
  inView();
}
