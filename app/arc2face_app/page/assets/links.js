() => {
  // The address names the open tab, so that a reload, a bookmark and a shared link come back to it.
  const named = (tab) => tab?.id?.replace(/-button$/, "") ?? "";
  const wanted = new URL(location.href).searchParams.get("tab");
  const open = [...document.querySelectorAll("[role=tab]")].find((tab) => wanted && (tab.dataset.tabId || named(tab)) === wanted);
  if (open?.getAttribute("aria-selected") === "false") open.click();
  const say = (tab) => {
    const name = tab?.dataset.tabId || named(tab);
    const address = new URL(location.href);
    if (!name || address.searchParams.get("tab") === name) return;
    // Settings in the address belong to the tab that they were made for.
    address.search = "";
    for (const [key, value] of new URL(location.href).searchParams) if (key.startsWith("__") || key === "lang") address.searchParams.set(key, value);
    address.searchParams.set("tab", name);
    history.replaceState(history.state, "", address);
  };
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element) say(event.target.closest("[role=tab]"));
  }, true);
  // A picture that is taken to another tab opens it without a click.
  new MutationObserver((changes) => {
    for (const { target } of changes) if (target.matches("[role=tab][aria-selected=true]")) say(target);
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
}
