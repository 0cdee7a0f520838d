() => {
  // Keys, and where the focus goes. Ctrl or Cmd with Enter makes; Escape closes what covers the page, else stops the run,
  // else closes a note; arrows move among pictures. The focus never falls to the page's body: what vanishes hands it on.
  const seen = (element) => element instanceof HTMLElement && element.isConnected && element.offsetParent !== null;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)].filter(seen);
  const panel = () => all("[role=tabpanel]")[0] ?? document.body;
  const FOCUSABLE = "button:not([disabled]), a[href], input:not([disabled]), select, textarea, summary, [tabindex]:not([tabindex='-1'])";

  const make = () => all(".run-row button.primary", panel())[0];
  const stop = () => all(".run-row button.secondary, .run-row button.stop", panel())[0];
  const covering = () => all(".preview button[aria-label='Close'], .fullscreen button[aria-label*='xit']");
  const notes = () => all(".toast-close");

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const button = make();
      if (!button || button.disabled) return;
      event.preventDefault();
      // What is being typed counts: fields hand over their value when they are left.
      if (document.activeElement instanceof HTMLElement) document.activeElement.dispatchEvent(new Event("change", { bubbles: true }));
      button.focus();
      button.click();
    } else if (event.key === "Escape") {
      // Dialogs, menus and a picture on the full screen close by themselves.
      if (document.fullscreenElement || document.querySelector("dialog[open], :popover-open")) return;
      // A run that is under way matters more than a note about the one before.
      const top = covering().at(-1) ?? stop() ?? notes().at(-1);
      if (!top) return;
      event.preventDefault();
      top.click();
    } else if (event.key.startsWith("Arrow") && !event.altKey && !event.ctrlKey && !event.metaKey) {
      arrow(event);
    }
  });

  function arrow(event) {
    const here = document.activeElement?.closest(".thumbnail-item, .thumbnail-lg");
    const grid = here?.closest(".grid-container, .picture-grid");
    if (!here || !grid) return;
    const items = all(".thumbnail-item, .thumbnail-lg", grid);
    const place = items.indexOf(here);
    const box = here.getBoundingClientRect();
    const middle = box.left + box.width / 2;
    const row = (down) => items
      .map((item) => [item, item.getBoundingClientRect()])
      .filter(([, other]) => (down ? other.top >= box.bottom - 4 : other.bottom <= box.top + 4))
      .sort(([, a], [, b]) => Math.abs(a.top - box.top) - Math.abs(b.top - box.top)
        || Math.abs(a.left + a.width / 2 - middle) - Math.abs(b.left + b.width / 2 - middle))[0]?.[0];
    const next = { ArrowLeft: items[place - 1], ArrowRight: items[place + 1], ArrowUp: row(false), ArrowDown: row(true) }[event.key];
    if (!next) return;
    event.preventDefault();
    (next.matches(FOCUSABLE) ? next : next.querySelector(FOCUSABLE) ?? next).focus();
  }

  // Where the focus was, and what stood around it; asked when the element is gone.
  let last = null;
  document.addEventListener("focusin", (event) => {
    if (event.target instanceof HTMLElement) last = { element: event.target, around: ancestors(event.target) };
  });
  function ancestors(element) {
    const found = [];
    for (let one = element.parentElement; one && one !== document.body; one = one.parentElement) found.push(one);
    return found;
  }
  const results = () => [".failure", ".picture-grid .open", ".summary"].map((one) => all(one, panel())[0]).find(Boolean);
  function heir() {
    const fromRun = last.around.some((one) => one.classList.contains("run-row"));
    if (fromRun) return stop() ?? results() ?? make();
    for (const one of last.around) {
      // Not a field with a list, which would open it.
      const inside = seen(one) ? all(FOCUSABLE, one).find((each) => !each.matches("input[role=combobox]")) : null;
      if (inside) return inside;
    }
    return make();
  }
  function keep() {
    const active = document.activeElement;
    if (active && active !== document.body && seen(active)) return;
    if (!last || seen(last.element)) return;
    const next = heir();
    if (!next) return;
    if (!next.matches(FOCUSABLE)) next.tabIndex = -1;
    next.focus({ preventScroll: !next.matches(".failure, .summary") });
  }
  // A run ends with results a moment after Stop has gone: wait until the page has settled.
  let planned = 0;
  const later = () => { clearTimeout(planned); planned = setTimeout(keep, 120); };
  new MutationObserver(later).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["class", "style", "hidden"] });

  // What makes says how it can be called.
  const hinted = () => {
    for (const button of all(".run-row button.primary")) button.setAttribute("aria-keyshortcuts", "Control+Enter Meta+Enter");
    for (const button of all(".run-row button.secondary")) button.setAttribute("aria-keyshortcuts", "Escape");
  };
  document.addEventListener("focusin", hinted);
  hinted();
}
