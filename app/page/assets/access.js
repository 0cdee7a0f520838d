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
