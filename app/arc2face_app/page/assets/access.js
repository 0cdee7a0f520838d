() => {
  // Names for what Gradio leaves nameless, and a way in for the keyboard where something scrolls.
  const set = (element, attribute, value) => {
    if (value && element.getAttribute(attribute) === null) element.setAttribute(attribute, value);
  };
  const label = (element) => element.closest(".block")?.querySelector("[data-testid=block-label]")?.textContent.trim();
  const name = () => {
    for (const button of document.querySelectorAll(".image-container > button, .image-frame button")) {
      if (!button.textContent.trim()) set(button, "aria-label", label(button) || "Picture");
    }
    for (const image of document.querySelectorAll(".image-frame img")) if (!image.alt) image.alt = label(image) || "Picture";
    for (const link of document.querySelectorAll("a.download-link")) {
      set(link, "aria-label", "Download");
      const inner = link.querySelector("button");
      if (inner && inner.tabIndex !== -1) inner.tabIndex = -1; // one stop for the keyboard, not two
    }
    for (const outer of document.querySelectorAll("button.icon-button:has(button)")) {
      // Gradio puts one button into another: the inner one is the control.
      set(outer, "role", "group");
      outer.tabIndex = -1;
    }
    for (const head of document.querySelectorAll(".toast-header[role=button]")) head.setAttribute("role", "group");
    for (const button of document.querySelectorAll("[aria-label='common.webcam']")) {
      button.setAttribute("aria-label", "Take a photo");
      button.title = "Take a photo";
    }
    for (const item of document.querySelectorAll(".photos .thumbnail-item[aria-label^='Thumbnail ']")) {
      const [, place, count] = item.getAttribute("aria-label").match(/(\d+) of (\d+)/) ?? [];
      if (place) item.setAttribute("aria-label", `Photo ${place} of ${count}`);
    }
    for (const area of document.querySelectorAll(".scroll-x, .table-wrap")) {
      if (area.scrollWidth > area.clientWidth && area.tabIndex < 0) {
        area.tabIndex = 0;
        set(area, "role", "region");
        set(area, "aria-label", label(area) || "Table");
      }
    }
  };
  let planned = 0;
  new MutationObserver(() => { planned ||= requestAnimationFrame(() => { planned = 0; name(); }); })
    .observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", name);
  name();
}
