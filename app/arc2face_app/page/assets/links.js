() => {
  // The address names the open tab, so that a reload, a bookmark and a shared link come back to it.
  const named = (tab) => tab?.id?.replace(/-button$/, "") ?? "";
  const wanted = new URL(location.href).searchParams.get("tab");
  const open = [...document.querySelectorAll("[role=tab]")].find((tab) => wanted && (tab.dataset.tabId || named(tab)) === wanted);
  if (open?.getAttribute("aria-selected") === "false") open.click();
  document.addEventListener("click", (event) => {
    const tab = event.target instanceof Element ? event.target.closest("[role=tab]") : null;
    const name = tab?.dataset.tabId || named(tab);
    if (!name) return;
    const address = new URL(location.href);
    if (address.searchParams.get("tab") !== name) {
      // Settings in the address belong to the tab that they were made for.
      address.search = "";
      for (const [key, value] of new URL(location.href).searchParams) if (key.startsWith("__") || key === "lang") address.searchParams.set(key, value);
      address.searchParams.set("tab", name);
      history.replaceState(history.state, "", address);
    }
  }, true);
}
